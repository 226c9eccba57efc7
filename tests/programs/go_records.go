// A Go program that is linked with C, so that a library can be preloaded into it, and whose reads and writes are its own
// system calls all the same.
//
//	go_records records FILE   one goroutine writes a record past the page cache, others and another process read it through
//	                          that: says how many reads saw parts of two writes, or one older than what was done before
//	go_records calls DIR      does what Go's run-time system does with signals, stacks and processes, with calls on files in
//	                          the middle of it, and says what they did
package main

/*
#include <fcntl.h>
#include <unistd.h>

// By libc, on the thread's own stack.
static long by_c(int fd, const void *from, long size, long at) { return pwrite(fd, from, size, at); }
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	record  = 256 << 10
	readers = 2
	length  = 1500 * time.Millisecond
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func aligned(size int) []byte {
	memory, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	must(err)
	return memory
}

func fill(record []byte, stamp uint64) {
	for at := 0; at < len(record); at += 8 {
		binary.LittleEndian.PutUint64(record[at:], stamp)
	}
}

// The lowest and the highest stamp in a record.
func stamps(record []byte) (low, high uint64) {
	low = ^uint64(0)
	for at := 0; at < len(record); at += 8 {
		stamp := binary.LittleEndian.Uint64(record[at:])
		if stamp < low {
			low = stamp
		}
		if stamp > high {
			high = stamp
		}
	}
	return
}

// Reads until it is told to stop: how many reads saw two writes, or less than `done` says is done. Without `done`: than what
// was seen before.
func read(file *os.File, done *uint64, stop func() bool) (anomalies, reads uint64) {
	memory := make([]byte, record)
	seen := uint64(0)
	for !stop() {
		if done != nil {
			seen = atomic.LoadUint64(done)
		}
		_, err := file.ReadAt(memory, 0)
		must(err)
		low, high := stamps(memory)
		if low != high || low < seen {
			anomalies++
		}
		if done == nil {
			seen = low
		}
		reads++
	}
	return
}

// Keeps the run-time system busy: rubbish to collect, and loops that are only left when a signal interrupts them.
func busy(over *uint32) {
	kept := [][]byte{}
	for n := 0; atomic.LoadUint32(over) == 0; n++ {
		kept = append(kept[len(kept)/2:], make([]byte, 4096))
		sum := 0
		for i := 0; i < 1000000; i++ {
			sum += i * n
		}
		if n%16 == 0 {
			runtime.GC()
		}
		time.Sleep(2*time.Millisecond + time.Duration(sum&1))
	}
}

func records(name string) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(err)
	// In large writes, and so in large folios; and then past the cache.
	memory := aligned(record)
	_, err = file.Write(memory)
	must(err)
	direct, err := os.OpenFile(name, os.O_RDWR|syscall.O_DIRECT, 0)
	must(err)
	must(pprof.StartCPUProfile(io.Discard))

	other := exec.Command(os.Args[0], "reader", name)
	told := &strings.Builder{}
	other.Stdout, other.Stderr = told, os.Stderr
	ends, err := other.StdinPipe()
	must(err)
	must(other.Start())

	var over uint32
	var done, anomalies, reads, writes uint64
	var all sync.WaitGroup
	for range [readers]int{} {
		all.Add(1)
		go func() {
			a, r := read(file, &done, func() bool { return atomic.LoadUint32(&over) != 0 })
			atomic.AddUint64(&anomalies, a)
			atomic.AddUint64(&reads, r)
			all.Done()
		}()
	}
	all.Add(1)
	go func() { busy(&over); all.Done() }()
	for begun := time.Now(); time.Since(begun) < length; {
		writes++
		fill(memory, writes)
		_, err := direct.WriteAt(memory, 0)
		must(err)
		atomic.StoreUint64(&done, writes)
	}
	atomic.StoreUint32(&over, 1)
	all.Wait()
	ends.Close()
	must(other.Wait())
	pprof.StopCPUProfile()
	var a, r uint64
	_, err = fmt.Sscan(told.String(), &a, &r)
	must(err)
	// What was written last is there, both ways.
	for _, one := range []*os.File{file, direct} {
		_, err := one.ReadAt(memory, 0)
		must(err)
		if low, high := stamps(memory); low != writes || high != writes {
			anomalies++
		}
	}
	fmt.Printf("%d anomalies, %d in the other process, in %d writes, %d reads and %d there\n", anomalies, a, writes, reads, r)
}

func reader(name string) {
	file, err := os.Open(name)
	must(err)
	var over uint32
	go func() {
		io.ReadAll(os.Stdin)
		atomic.StoreUint32(&over, 1)
	}()
	anomalies, reads := read(file, nil, func() bool { return atomic.LoadUint32(&over) != 0 })
	fmt.Println(anomalies, reads)
}

// Writes and reads a page from a stack of any depth, and so with any room left; what stands on the stack above stays.
//
//go:noinline
func deep(depth int, fd int, page []byte) uint64 {
	var mine [7]uint64
	for i := range mine {
		mine[i] = uint64(depth * i)
	}
	if depth > 0 {
		deep(depth-1, fd, page)
	} else {
		n, err := syscall.Pwrite(fd, page, 0)
		if n != len(page) || err != nil {
			panic(err)
		}
		n, err = syscall.Pread(fd, page, 0)
		if n != len(page) || err != nil {
			panic(err)
		}
	}
	sum := uint64(0)
	for i := range mine {
		sum += mine[i]
	}
	if sum != uint64(depth*21) {
		panic("the stack was written to")
	}
	return sum
}

func stacks(file *os.File) {
	var all sync.WaitGroup
	for n := 0; n < 60; n++ {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			page := aligned(4096)
			fill(page, 7)
			for depth := n; depth < n+10; depth++ {
				deep(depth, int(file.Fd()), page)
			}
			must(syscall.Munmap(page))
		}(n)
	}
	all.Wait()
	fmt.Println("stacks of any depth")
}

// Each with files and numbers of its own, from many threads at once.
func children(dir string) {
	var all sync.WaitGroup
	ended := uint32(0)
	for n := 0; n < 8; n++ {
		all.Add(1)
		go func(n int) {
			defer all.Done()
			name := filepath.Join(dir, fmt.Sprint("child", n))
			out, err := os.Create(name)
			must(err)
			child := exec.Command("sh", "-c", "cat; echo told by $0", fmt.Sprint(n))
			child.Stdin = strings.NewReader("given\n")
			child.Stdout = out
			must(child.Run())
			must(out.Close())
			text, err := os.ReadFile(name)
			must(err)
			if string(text) == fmt.Sprintf("given\ntold by %d\n", n) {
				atomic.AddUint32(&ended, 1)
			}
		}(n)
	}
	all.Wait()
	missing := exec.Command("/missing/program").Run()
	fmt.Println("children:", ended, missing)
}

func signals(file *os.File) {
	heard := make(chan os.Signal, 100)
	signal.Notify(heard, syscall.SIGUSR1)
	page := aligned(4096)
	for n := 0; n < 50; n++ {
		must(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
		_, err := file.WriteAt(page, int64(n)*4096)
		must(err)
		<-heard
	}
	signal.Stop(heard)
	fmt.Println("signals")
}

func errors(dir string, file, direct *os.File) {
	page := make([]byte, 512)
	_, missing := os.Open(filepath.Join(dir, "missing"))
	_, odd := direct.WriteAt(page[:10], 1)
	_, negative := syscall.Pread(-1, page, 0)
	_, hole := syscall.Pwrite(int(file.Fd()), page, -1)
	closed, err := os.Create(filepath.Join(dir, "closed"))
	must(err)
	must(closed.Close())
	_, gone := closed.Write(page)
	clean := func(err error) string { return strings.ReplaceAll(err.Error(), dir, "DIR") }
	fmt.Println(clean(missing), clean(odd), negative, hole, clean(gone))
}

// What the run-time system has of its own for files: copies by the kernel, pipes that it waits for, truncation, mappings.
func others(dir string, file *os.File) {
	to, err := os.Create(filepath.Join(dir, "copy"))
	must(err)
	_, err = file.Seek(0, io.SeekStart)
	must(err)
	copied, err := io.Copy(to, file)
	must(err)
	must(to.Truncate(10000))
	end, err := to.Seek(0, io.SeekEnd)
	must(err)
	mapped, err := syscall.Mmap(int(to.Fd()), 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	must(err)
	copy(mapped[100:], "mapped")
	seen := make([]byte, 6)
	_, err = to.ReadAt(seen, 100)
	must(err)
	must(syscall.Munmap(mapped))
	from, into, err := os.Pipe()
	must(err)
	go func() {
		time.Sleep(10 * time.Millisecond)
		into.Write(bytes.Repeat([]byte("x"), 100000))
		into.Close()
	}()
	piped, err := io.Copy(to, from)
	must(err)
	must(to.Sync())
	fmt.Println("others:", copied, end, string(seen), piped)
}

func calls(dir string) {
	file, err := os.Create(filepath.Join(dir, "data"))
	must(err)
	direct, err := os.OpenFile(file.Name(), os.O_RDWR|syscall.O_DIRECT, 0)
	must(err)
	must(pprof.StartCPUProfile(io.Discard))
	var over uint32
	var all sync.WaitGroup
	all.Add(1)
	go func() { busy(&over); all.Done() }()
	page := aligned(4096)
	fmt.Println("by C:", C.by_c(C.int(direct.Fd()), unsafe.Pointer(&page[0]), 4096, 0))
	stacks(direct)
	children(dir)
	signals(file)
	errors(dir, file, direct)
	others(dir, file)
	atomic.StoreUint32(&over, 1)
	all.Wait()
	pprof.StopCPUProfile()
}

func main() {
	switch what := os.Args[1]; what {
	case "records":
		records(os.Args[2])
	case "reader":
		reader(os.Args[2])
	case "calls":
		calls(os.Args[2])
	}
}

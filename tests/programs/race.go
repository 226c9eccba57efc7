// The same as race.c, in Go: two goroutines that read or write whole records. Its system calls are its own.
// Usage: race DIR ROLE MODE SECONDS, as there; nothing is mapped but the board.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	record  = 256 << 10
	writers = 2
	threads = 2
	places  = writers * threads
)

type place struct {
	begun, done uint64
	isDirect    int32
	_           int32
}

var (
	board            *[places]place
	dir, mode        string
	until            time.Time
	anomalies, calls int64
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func open() *os.File {
	flags := os.O_RDWR
	if mode == "direct" {
		flags |= syscall.O_DIRECT
	}
	file, err := os.OpenFile(dir+"/records", flags, 0)
	must(err)
	return file
}

func aligned(size int) []byte {
	memory, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	must(err)
	return memory
}

func write(at int) {
	file, memory, its := open(), aligned(record), &board[at]
	atomic.StoreInt32(&its.isDirect, map[bool]int32{true: 1}[mode == "direct"])
	for time.Now().Before(until) {
		number := atomic.LoadUint64(&its.done) + 1
		for i := 0; i < record; i += 8 {
			binary.LittleEndian.PutUint64(memory[i:], number)
		}
		atomic.StoreUint64(&its.begun, number)
		_, err := file.WriteAt(memory, int64(at)*record)
		must(err)
		atomic.StoreUint64(&its.done, number)
		atomic.AddInt64(&calls, 1)
	}
}

func read() {
	file, memory := open(), aligned(record)
	for time.Now().Before(until) {
		for at := range board {
			done := atomic.LoadUint64(&board[at].done)
			mayBeHalves := (mode == "direct") == (atomic.LoadInt32(&board[at].isDirect) == 1)
			_, err := file.ReadAt(memory, int64(at)*record)
			must(err)
			low, high := ^uint64(0), uint64(0)
			for i := 0; i < record; i += 8 {
				number := binary.LittleEndian.Uint64(memory[i:])
				if number < low {
					low = number
				}
				if number > high {
					high = number
				}
			}
			if low < done || low != high && !mayBeHalves {
				if atomic.AddInt64(&anomalies, 1) <= 5 {
					fmt.Printf("wrong: record %d holds %d to %d, and %d was done\n", at, low, high, done)
				}
			}
			atomic.AddInt64(&calls, 1)
		}
	}
}

func main() {
	rest := os.Args[3:]
	dir = os.Args[1]
	writer := -1
	if os.Args[2] == "write" {
		number, err := strconv.Atoi(rest[0])
		must(err)
		writer, rest = number, rest[1:]
	}
	mode = rest[0]
	seconds, err := strconv.ParseFloat(rest[1], 64)
	must(err)
	file, err := os.OpenFile(dir+"/board", os.O_RDWR, 0)
	must(err)
	memory, err := syscall.Mmap(int(file.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	must(err)
	board = (*[places]place)(unsafe.Pointer(&memory[0]))
	until = time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var all sync.WaitGroup
	for thread := 0; thread < threads; thread++ {
		all.Add(1)
		go func(thread int) {
			if writer >= 0 {
				write(writer*threads + thread)
			} else {
				read()
			}
			all.Done()
		}(thread)
	}
	all.Wait()
	fmt.Printf("anomalies=%d calls=%d\n", anomalies, calls)
}

//! Run-time systems that do their I/O in ways of their own.

use pagefence_tests::compare::Comparison;
use pagefence_tests::places::{main_place, places};

use super::{is_long, must_succeed};

const RSYNC: &str = r#"
mkdir -p from/a/b; seq 1 100000 >from/numbers; head -c 3000000 /dev/zero >from/a/zeros; ln -s ../numbers from/a/link; ln from/numbers from/a/b/hard
truncate -s 4M from/holes; printf x >>from/holes
rsync -aH from/ to/ && diff -r from to && echo same
seq 50000 100001 >>from/numbers; printf changed | dd of=from/a/zeros bs=1 seek=2000000 conv=notrunc status=none; rm from/holes
dd if=from/a/zeros of=/dev/null bs=64k iflag=direct status=none
# Files of one length that changed within a second look alike to it.
rsync -aHI --delete --inplace --no-whole-file from/ to/ && diff -r from to && echo in place
rsync -aHc --sparse --partial from/ other/ && diff -r from other && echo sparse
rsync -aH --link-dest="$PWD/to" from/ third/ && diff -r from third && echo linked
"#;

#[test]
fn rsync() {
    for place in places() {
        must_succeed(&Comparison::new("rsync"), &place, RSYNC);
    }
}

/// Its calls are made by threads of its own, some by `io_uring` where that can be had.
const NODE: &str = r#"
cat >work.js <<'END'
const fs = require('fs'), fsp = fs.promises, { Worker, isMainThread, workerData } = require('worker_threads'), { execFileSync } = require('child_process');
const O = fs.constants, page = n => Buffer.alloc(4096, n);
if (!isMainThread) {
    const fd = fs.openSync('shared', 'r+');
    for (let i = 0; i < 50; i++) fs.writeSync(fd, page(workerData), 0, 4096, 4096 * (i * 4 + workerData));
    fs.closeSync(fd);
} else (async () => {
    fs.writeFileSync('shared', Buffer.alloc(4096 * 200));
    const direct = await fsp.open('shared', O.O_RDONLY | O.O_DIRECT).catch(e => e.code);
    await Promise.all([0, 1, 2, 3].map(n => new Promise((done, no) => new Worker(__filename, { workerData: n }).on('exit', done).on('error', no))));
    if (direct.close) await direct.close();
    const all = await fsp.readFile('shared');
    console.log('right', [...Array(200).keys()].every(i => all[i * 4096] === i % 4 && all[i * 4096 + 4095] === i % 4));
    const file = await fsp.open('many', 'w+');
    await Promise.all([...Array(100).keys()].map(i => file.write(page(i), 0, 4096, i * 4096)));
    const back = await Promise.all([...Array(100).keys()].map(i => file.read(Buffer.alloc(4096), 0, 4096, i * 4096)));
    console.log('back', back.every((r, i) => r.bytesRead === 4096 && r.buffer[77] === i));
    await file.truncate(5000); await file.datasync(); console.log((await file.stat()).size); await file.close();
    await fsp.copyFile('many', 'copied'); await fsp.copyFile('shared', 'cloned', O.COPYFILE_FICLONE);
    console.log(fs.readFileSync('cloned').equals(all), fs.readFileSync('copied').length);
    await new Promise(done => fs.createReadStream('shared').pipe(fs.createWriteStream('streamed')).on('close', done));
    console.log(fs.readFileSync('streamed').equals(all), execFileSync('cksum', ['streamed']).toString().trim());
    await fsp.appendFile('log', 'one\n'); fs.appendFileSync('log', 'two\n'); console.log(fs.readFileSync('log', 'utf8').trim().split('\n').length);
    await fsp.rm('streamed'); await fsp.rename('copied', 'moved'); console.log(fs.existsSync('streamed'), fs.readdirSync('.').join(' '));
})();
END
node work.js
UV_USE_IO_URING=1 node work.js
"#;

#[test]
fn node() {
    let comparison = Comparison::new("node").expect_said(&["uncovered io_uring"]);
    must_succeed(&comparison, &main_place(), NODE);
}

const JAVA: &str = r#"
cat >Work.java <<'END'
import java.io.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.util.*; import java.util.stream.*;
import com.sun.nio.file.ExtendedOpenOption; import static java.nio.file.StandardOpenOption.*;
public class Work { public static void main(String[] a) throws Exception {
    Path p = Path.of("data"); int page = (int) Files.getFileStore(Path.of(".")).getBlockSize();
    try (FileChannel c = FileChannel.open(p, CREATE, READ, WRITE); FileChannel d = FileChannel.open(p, READ, WRITE, ExtendedOpenOption.DIRECT)) {
        MappedByteBuffer m = c.map(FileChannel.MapMode.READ_WRITE, 0, 64 * page);
        ByteBuffer b = ByteBuffer.allocateDirect(3 * page).alignedSlice(page); b.limit(page);
        for (int i = 0; i < 64; i++) { m.put(i * page + 9, (byte) i); b.clear().limit(page); for (int k = 0; k < page; k++) b.put(k, (byte) (i + 1)); d.write(b, (long) i * page); }
        int bad = 0; for (int i = 0; i < 64; i++) { if (m.get(i * page + 9) != (byte) (i + 1)) bad++; m.put(i * page + 5, (byte) 99); b.clear().limit(page); d.read(b, (long) i * page); if (b.get(5) != 99) bad++; }
        System.out.println("bad " + bad); m.force();
    }
    Thread[] t = IntStream.range(0, 8).mapToObj(n -> new Thread(() -> { try (RandomAccessFile f = new RandomAccessFile("raf", "rw")) { for (int i = 0; i < 100; i++) { f.seek((long) (i * 8 + n) * 512); f.write(new byte[512]); f.seek((long) (i * 8 + n) * 512); f.writeInt(n); } } catch (IOException e) { throw new UncheckedIOException(e); } })).toArray(Thread[]::new);
    for (Thread x : t) x.start(); for (Thread x : t) x.join();
    byte[] all = Files.readAllBytes(Path.of("raf")); int right = 0; for (int i = 0; i < 800; i++) if (ByteBuffer.wrap(all).getInt(i * 512) == i % 8) right++; System.out.println("right " + right);
    try (FileChannel from = FileChannel.open(p, READ); FileChannel to = FileChannel.open(Path.of("copy"), CREATE, WRITE)) { from.transferTo(0, from.size(), to); }
    System.out.println(Files.mismatch(p, Path.of("copy")) + " " + Files.size(Path.of("copy")));
    try (AsynchronousFileChannel s = AsynchronousFileChannel.open(Path.of("async"), CREATE, WRITE, READ)) { List<java.util.concurrent.Future<Integer>> l = new ArrayList<>(); for (int i = 0; i < 50; i++) l.add(s.write(ByteBuffer.wrap(("line " + (100 + i) + "\n").getBytes()), i * 9L)); for (var f : l) f.get(); System.out.println(s.size()); }
    Files.writeString(Path.of("lines"), IntStream.range(0, 5000).mapToObj(Integer::toString).collect(Collectors.joining("\n"))); try (Stream<String> s = Files.lines(Path.of("lines"))) { System.out.println(s.mapToInt(Integer::parseInt).sum()); }
    System.out.println(new String(new ProcessBuilder("cksum", "lines").start().getInputStream().readAllBytes()).trim());
} }
END
java -Xint -XX:-UsePerfData Work.java
"#;

#[test]
fn java() {
    if !is_long("Java") {
        return;
    }
    for place in places() {
        let comparison = Comparison::new("java").limit(180);
        must_succeed(&comparison, &place, JAVA);
    }
}

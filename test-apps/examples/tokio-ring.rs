//! Writes a page to DIR/data by tokio-uring, whose run-time system can't be without a ring, reads it back, and says so.

fn main() {
    let dir = std::env::args().nth(1).expect("a directory");
    let path = std::path::Path::new(&dir).join("data");
    tokio_uring::start(async move {
        let file = tokio_uring::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .open(path)
            .await
            .expect("open");
        let (written, page) = file.write_at(vec![7; 4096], 0).submit().await;
        let (read, seen) = file.read_at(vec![0; 4096], 0).await;
        println!("{:?} {:?} {}", written.ok(), read.ok(), page == seen);
        file.close().await.expect("close");
    });
}

use std::sync::Arc;

use super::*;

fn mapped(bytes: u64) -> (tempfile::TempDir, Arc<MappedFile>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000000000000000000");
    let mut file = MappedFile::open(&Fs::default(), &path, 0, bytes).unwrap();
    file.truncate(0);
    (dir, Arc::new(file))
}

#[test]
fn appended_bytes_are_readable_and_in_the_file() {
    let (_dir, file) = mapped(64);
    let mut writer = file.writer(Way::Mapping).unwrap();
    writer.append(b"hello").unwrap();
    assert_eq!(file.read(0, 5), Some(&b"hello"[..]));
    assert_eq!(file.read(0, 6), None);
    assert_eq!(file.written_from(4), Some(&b"o"[..]));
    assert_eq!(file.written_from(5), None);
    assert_eq!(&std::fs::read(file.path()).unwrap()[..6], b"hello\0");
}

/// The process that ends in an append, and the file that it appends to.
const ENDS_IN_AN_APPEND: &str = "OXMQ_ENDS_IN_AN_APPEND";

/// Pages of which each byte tells where it is.
fn pages(count: usize) -> Vec<u8> {
    (0..count * rustix::param::page_size()).map(|at| (at % 251) as u8 | 1).collect()
}

#[test]
fn who_ends_in_an_append_leaves_its_beginning() {
    if let Some(path) = std::env::var_os(ENDS_IN_AN_APPEND) {
        let page_bytes = rustix::param::page_size() as u64;
        let mut file =
            MappedFile::open(&Fs::default(), Path::new(&path), 0, 3 * page_bytes).unwrap();
        file.truncate(0);
        // The last page can no longer be stored into: the system ends who tries.
        File::options().write(true).open(&path).unwrap().set_len(2 * page_bytes).unwrap();
        let mut writer = Arc::new(file).writer(Way::Mapping).unwrap();
        writer.append(&pages(3)).unwrap();
        unreachable!("it was stored");
    }
    let (_dir, file) = mapped(64);
    let path = file.path().with_extension("ends");
    let name = "mapped_file::tests::who_ends_in_an_append_leaves_its_beginning";
    let mut process = std::process::Command::new(std::env::current_exe().unwrap());
    let process = process.args(["--exact", name]).env(ENDS_IN_AN_APPEND, &path);
    let ended = process.output().unwrap().status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGBUS));
    assert!(std::fs::read(&path).unwrap() == pages(2), "a hole in front of what is stored");
}

#[test]
fn bytes_that_are_written_later_are_readable_once_they_are() {
    let (_dir, file) = mapped(64);
    let mut writer = file.writer(Way::Later).unwrap();
    writer.append(b"he").unwrap();
    writer.append(b"l").unwrap();
    let mut spare = Vec::with_capacity(100);
    let first = writer.take_unwritten(&mut spare).unwrap();
    assert!(writer.take_unwritten(&mut Vec::new()).is_none());
    writer.finish(b"lo").unwrap();
    let second = writer.take_unwritten(&mut spare).unwrap();
    assert_eq!((first.end(), second.end(), writer.remaining()), (3, 64, 0));
    assert_eq!(file.read(0, 1), None);
    let full = Fs::with_fault(|_, _| Err(io::ErrorKind::StorageFull.into()));
    assert_eq!(first.write(&full).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.read(0, 1), None);
    first.write(&Fs::default()).unwrap();
    assert_eq!((file.read(0, 3), file.read(0, 4)), (Some(&b"hel"[..]), None));
    second.write(&Fs::default()).unwrap();
    assert_eq!(file.read(0, 64).unwrap()[..6], *b"hello\0");
    assert_eq!(first.into_buffer(), b"");
    assert!(second.into_buffer().capacity() >= 100);
}

#[test]
fn file_has_one_writer_only() {
    let (_dir, file) = mapped(64);
    assert!(file.writer(Way::Mapping).is_some());
    assert!(file.writer(Way::Mapping).is_none());
}

#[test]
fn append_beyond_the_end_does_nothing() {
    let (_dir, file) = mapped(8);
    let mut writer = file.writer(Way::Mapping).unwrap();
    assert!(writer.append(&[1; 9]).is_err());
    assert_eq!(file.wrote_position(), 0);
    writer.finish(&[1; 8]).unwrap();
    assert_eq!(writer.remaining(), 0);
}

#[test]
fn truncation_clears_the_next_head() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, [7; 20]).unwrap();
    let mut file = MappedFile::open(&Fs::default(), &path, 0, 20).unwrap();
    file.truncate(3);
    let mut expected = [7; 20];
    expected[3..11].fill(0);
    assert_eq!(std::fs::read(&path).unwrap(), expected);
    file.truncate(20);
    assert_eq!(file.wrote_position(), 20);
}

#[test]
fn magic_is_found_behind_holes_and_across_pages() {
    let (_dir, file) = mapped(1 << 20);
    file.writer(Way::Mapping).unwrap().finish(b"MA").unwrap();
    let write = |at: u64, bytes: &[u8]| {
        use std::os::unix::fs::FileExt;
        file.file.write_all_at(bytes, at).unwrap();
    };
    let next_magic = |at| file.next_magic(at, b"MAG", |_, end| end);
    assert_eq!(next_magic(0), None);
    write(500_000, b"MAG");
    write(4_095, b"MAG");
    write(4_000, b"MMMAMAG");
    assert_eq!(next_magic(0), Some(4_004));
    assert_eq!(next_magic(4_005), Some(4_095));
    assert_eq!(next_magic(4_096), Some(500_000));
    assert_eq!(next_magic(500_001), None);
    let not_the_first_page = |at: usize, end: usize| if at < 4_096 { at } else { end };
    assert_eq!(file.next_magic(0, b"MAG", not_the_first_page), Some(500_000));
}

#[test]
fn prefetch_stops_where_nothing_is_written() {
    let (_dir, file) = mapped(1 << 16);
    file.prefetch(0, usize::MAX);
    file.writer(Way::Mapping).unwrap().append(&[9; 100]).unwrap();
    for (at, end) in [(0, 100), (0, usize::MAX), (99, 100), (100, 200), (200, 100)] {
        file.prefetch(at, end);
    }
    assert_eq!(file.read(0, 100), Some(&[9; 100][..]));
}

#[test]
fn released_pages_come_back() {
    let (_dir, file) = mapped(1 << 16);
    let mut writer = file.writer(Way::Mapping).unwrap();
    writer.append(&[9; 1 << 15]).unwrap();
    file.release(0, 1 << 16);
    assert_eq!(file.read(0, 1 << 15), Some(&[9; 1 << 15][..]));
}

#[test]
fn what_was_just_written_is_cached_and_looking_goes_no_further_than_the_file() {
    let (_dir, file) = mapped(1 << 20);
    file.writer(Way::Mapping).unwrap().append(&[9; 1 << 19]).unwrap();
    for (at, end) in [(0, 1), (0, 1 << 19), (4095, 4097), (100_000, 500_000)] {
        assert!(file.is_cached(at, end), "{at}..{end}");
    }
    // Bytes behind the end, or none, are not waited for.
    for (at, end) in [(1 << 20, usize::MAX), (5, 5)] {
        assert!(file.is_cached(at, end), "{at}..{end}");
    }
}

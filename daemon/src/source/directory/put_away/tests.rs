use super::*;

/// A folder with a file `a.wav` that was heard, and that another file has replaced.
fn replaced() -> (tempfile::TempDir, Folder, HeardFile) {
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().join("a.wav");
    fs::write(&path, "heard").unwrap();
    let folder = Folder::open(disk.path()).unwrap();
    let identity = FileIdentity::of(&folder.status(Path::new("a.wav")).unwrap());
    let heard = HeardFile { job: Uuid::now_v7(), identity, sha256: String::new(), was_missed: false };
    fs::write(disk.path().join("new"), "not heard").unwrap();
    fs::rename(disk.path().join("new"), &path).unwrap();
    (disk, folder, heard)
}

fn text(disk: &tempfile::TempDir) -> String {
    fs::read_to_string(disk.path().join("a.wav")).unwrap()
}

#[test]
fn what_came_under_the_name_while_the_copy_was_made_stays() {
    let (disk, folder, heard) = replaced();
    let file = folder.entry(OsStr::new("a.wav"));
    assert!(matches!(remove(&folder, file, &heard), Err(Left::Stays)));
    assert_eq!(text(&disk), "not heard");
    file.remove().unwrap();
    assert!(matches!(remove(&folder, file, &heard), Err(Left::Absent)));
}

#[test]
fn what_came_under_the_name_while_the_hash_was_made_is_not_moved() {
    let (disk, folder, heard) = replaced();
    let done = disk.path().join("done");
    let moved = move_file(&folder, folder.entry(OsStr::new("a.wav")), &done, Path::new("a.wav"), &heard);
    assert!(matches!(moved, Err(Left::Stays)), "{moved:?}");
    assert_eq!(text(&disk), "not heard");
    assert!(!done.join("a.wav").exists());
}

#[test]
fn what_came_under_the_name_just_before_the_move_goes_back() {
    let (disk, folder, heard) = replaced();
    let [from, to] = ["a.wav", "done.wav"].map(|name| folder.entry(OsStr::new(name)));
    from.rename_new(to).unwrap();
    assert!(matches!(confirm(from, to, &heard), Err(Left::Stays)));
    assert_eq!(text(&disk), "not heard");
    assert!(to.status().is_err());
}

#[test]
fn what_lies_behind_a_link_in_the_place_of_a_folder_is_neither_moved_nor_deleted() {
    let disk = tempfile::tempdir().unwrap();
    let (root, outside, done) =
        (disk.path().join("calls"), disk.path().join("outside"), disk.path().join("done"));
    for folder in [&root, &outside, &done] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(outside.join("a.wav"), "outside").unwrap();
    std::os::unix::fs::symlink(&outside, root.join("deep")).unwrap();
    let identity = FileIdentity::of(&rustix::fs::lstat(outside.join("a.wav")).unwrap());
    let heard = HeardFile { job: Uuid::now_v7(), identity, sha256: String::new(), was_missed: false };
    for fate in [FileFate::Delete, FileFate::Move(done.clone())] {
        let outcome = carry_out(&fate, &root, Path::new("deep/a.wav"), &heard).unwrap();
        assert_eq!(outcome, PutAway::Absent);
    }
    // Nor is a file moved to a folder behind a link.
    fs::remove_file(root.join("deep")).unwrap();
    fs::rename(&outside, root.join("deep")).unwrap();
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, done.join("deep")).unwrap();
    carry_out(&FileFate::Move(done), &root, Path::new("deep/a.wav"), &heard).unwrap_err();
    assert!(root.join("deep/a.wav").exists());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn the_first_thing_in_the_way_is_named_and_else_the_error_has_its_remedy() {
    let disk = tempfile::tempdir().unwrap();
    let done = disk.path().join("done");
    let why = |error: io::ErrorKind| {
        NotPutAway::moving(Path::new("/calls/a/b.wav"), &done, Path::new("a/b.wav"), &error.into())
            .to_string()
    };
    fs::write(&done, "a file").unwrap();
    assert!(
        why(io::ErrorKind::AlreadyExists)
            .ends_with("/done is a file, and would have to be a folder; move it away")
    );
    fs::remove_file(&done).unwrap();
    fs::create_dir(&done).unwrap();
    std::os::unix::fs::symlink(disk.path(), done.join("a")).unwrap();
    assert!(why(io::ErrorKind::NotADirectory).contains("/done/a is a symbolic link"));
    fs::remove_file(done.join("a")).unwrap();
    assert!(why(io::ErrorKind::StorageFull).ends_with("; make room on its disk"));
    assert!(why(io::ErrorKind::PermissionDenied).ends_with("permission on the folder of each"));
}

#[test]
fn a_crash_between_the_copy_and_the_removal_leaves_one_copy() {
    let disk = tempfile::tempdir().unwrap();
    fs::write(disk.path().join("a.wav"), "heard").unwrap();
    let (folder, done) = (Folder::open(disk.path()).unwrap(), disk.path().join("done"));
    let from = folder.entry(OsStr::new("a.wav"));
    let (identity, sha256) = (FileIdentity::of(&from.status().unwrap()), hash(from).unwrap());
    let copy_of = |job: Uuid| {
        let heard = HeardFile { job, identity, sha256: sha256.clone(), was_missed: false };
        let target = folder.make(Path::new("done")).unwrap();
        let other = with_suffix(OsStr::new("a.wav"), job);
        copy_file(from, [target.entry(OsStr::new("a.wav")), target.entry(&other)], &target, &heard).unwrap();
    };
    let copies = || fs::read_dir(&done).unwrap().count();
    let job = Uuid::now_v7();
    copy_of(job);
    copy_of(job);
    assert_eq!(copies(), 1);
    // Equal bytes that were written at another time are another recording.
    fs::write(done.join("a.wav"), "heard").unwrap();
    copy_of(job);
    copy_of(job);
    assert_eq!(copies(), 2);
}

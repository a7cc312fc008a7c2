//! Finding files with tests.

use crate::conformance::error::ConformanceError;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The files themselves, and all files ending in .json in the folders, each once and in order of their paths.
///
/// # Errors
/// `Unreadable`, `NoFiles`.
pub fn find_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ConformanceError> {
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |source| ConformanceError::Unreadable { path: path.clone(), source };
        if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            search(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    files.dedup();
    if files.is_empty() { Err(ConformanceError::NoFiles) } else { Ok(files) }
}

fn search(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), ConformanceError> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = |source| ConformanceError::Unreadable { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if is_hidden(&entry.file_name()) {
                continue;
            }
            let path = entry.path();
            // Follows links to files, not to folders, which could lead back here.
            if entry.file_type().map_err(unreadable)?.is_dir() {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new("json")) {
                files.push(path);
            }
        }
    }
    Ok(())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_and_hidden_and_other_files_left_out() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir_all(at(".meta")).unwrap();
        for name in ["a/b/2.json", "a/1.json", "a/.3.json", ".meta/index.json", "a/readme.txt"] {
            std::fs::write(at(name), "{}").unwrap();
        }
        let found = find_files(&[root.path().to_owned(), at("a/1.json")]).unwrap();
        assert_eq!(found, [at("a/1.json"), at("a/b/2.json")]);
        assert!(matches!(find_files(&[at(".meta/none")]), Err(ConformanceError::Unreadable { .. })));
        std::fs::create_dir(at("empty")).unwrap();
        assert!(matches!(find_files(&[at("empty")]), Err(ConformanceError::NoFiles)));
    }
}

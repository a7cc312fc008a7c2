//! The files in which the kernel describes the host: the real ones, a copy of them under another folder, or a dump.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where `/sys` and `/proc` are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysTree {
    /// Under this folder: `/` for the real ones.
    Folder(PathBuf),
    /// From a dump: contents by absolute path.
    Dump(BTreeMap<String, String>),
}

impl SysTree {
    /// The host itself.
    #[must_use]
    pub fn host() -> SysTree {
        SysTree::Folder(PathBuf::from("/"))
    }

    /// Another root: a folder that holds `sys` (and `proc`) as recorded elsewhere, or a file that is a dump.
    ///
    /// # Errors
    /// What the system says of a file that cannot be read.
    pub fn open(path: &Path) -> std::io::Result<SysTree> {
        if fs::metadata(path)?.is_dir() {
            Ok(SysTree::Folder(path.to_owned()))
        } else {
            Ok(SysTree::from_dump(&fs::read_to_string(path)?))
        }
    }

    /// Takes a dump: one line per file, its absolute path, a tab, and its text with `\n`, `\t` and `\\` escaped. Lines without
    /// a tab mean nothing.
    #[must_use]
    pub fn from_dump(text: &str) -> SysTree {
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        SysTree::Dump(lines.map(|(path, text)| (path.to_owned(), unescape(text))).collect())
    }

    /// The text of a file without white space around it; `None` if there is none.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        match self {
            SysTree::Folder(root) => {
                let text = fs::read_to_string(root.join(path.trim_start_matches('/'))).ok()?;
                Some(text.trim().to_owned())
            }
            SysTree::Dump(files) => files.get(path).map(|text| text.trim().to_owned()),
        }
    }

    /// Names of what is in a folder; none if there is no such folder.
    #[must_use]
    pub fn list(&self, path: &str) -> BTreeSet<String> {
        match self {
            SysTree::Folder(root) => {
                let Ok(entries) = fs::read_dir(root.join(path.trim_start_matches('/'))) else {
                    return BTreeSet::new();
                };
                entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
            SysTree::Dump(files) => {
                let prefix = format!("{path}/");
                let below = files.range(prefix.clone()..).map(|(file, _)| file.as_str());
                below
                    .map_while(|file| file.strip_prefix(prefix.as_str()))
                    .filter_map(|rest| rest.split('/').next().map(str::to_owned))
                    .collect()
            }
        }
    }

    /// Numbers `n` of the entries `<prefix>n` of a folder.
    #[must_use]
    pub fn numbered(&self, path: &str, prefix: &str) -> BTreeSet<u32> {
        let names = self.list(path);
        names.iter().filter_map(|name| name.strip_prefix(prefix)?.parse().ok()).collect()
    }

    /// A number that is the whole text of a file.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match rest.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some(other) => plain.push(other),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_reads_like_the_folder_that_it_was_made_of() {
        let tree = SysTree::from_dump("/sys/a/x1/f\t1\\n2\\\\\n/sys/a/x12/f\t7\nEND\n/sys/ab/f\t\n");
        assert_eq!(tree.read("/sys/a/x1/f").unwrap(), "1\n2\\");
        assert_eq!(tree.numbered("/sys/a", "x"), BTreeSet::from([1, 12]));
        assert_eq!(tree.number("/sys/a/x12/f"), Some(7));
        assert_eq!(tree.read("/sys/ab/f").as_deref(), Some(""));
        assert_eq!(tree.read("/sys/none"), None);

        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("sys/a/x1")).unwrap();
        std::fs::write(folder.path().join("sys/a/x1/f"), "1\n2\\\n").unwrap();
        let real = SysTree::open(folder.path()).unwrap();
        assert_eq!(real.read("/sys/a/x1/f"), tree.read("/sys/a/x1/f"));
        assert_eq!(real.list("/sys/a"), BTreeSet::from(["x1".to_owned()]));
    }
}

//! The file of `--report`.

use crate::exit::Exit;
use crate::output::print_error;
use phalanx_bench::report::page::Page;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A page that is to be written. The file is made first, since measuring may take hours.
#[derive(Debug)]
pub struct PageFile {
    path: PathBuf,
    file: File,
}

impl PageFile {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// How the command ends when it cannot be written; the reason is printed.
    pub fn create(path: &Path) -> Result<PageFile, Exit> {
        let file = File::create(path).map_err(|error| failed(path, &error))?;
        Ok(PageFile { path: path.to_owned(), file })
    }

    /// Writes the page.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn write(mut self, page: &Page) -> Result<(), Exit> {
        self.file.write_all(page.html().as_bytes()).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> Exit {
    let path = path.display();
    print_error(format_args!("cannot write {path}: {error}; name a file in a writable folder with --report"));
    Exit::Failed
}

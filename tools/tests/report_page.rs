//! `--report`: the page as a browser draws it.
//!
//! Headless Chromium opens the page with a script added that measures every mark and label. Without a Chromium the test
//! says so and looks at nothing; with PHALANX_REQUIRE_CHROMIUM=1 it fails then. What would break: bars without height,
//! lines outside their picture, labels on each other, a style sheet or font fetched from elsewhere. Negative control: the
//! last test breaks a page in each of these ways and demands that each is found.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{LIMIT, Run};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const REQUIRED: &str = "PHALANX_REQUIRE_CHROMIUM";

/// Runs in the page: measures every picture, then leaves what it found in the document.
const SCRIPT: &str = include_str!("common/measure_page.js");

fn chromium() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&folders).flat_map(|folder| PROGRAMS.map(|name| folder.join(name)));
    let found = all.into_iter().find(|path| path.is_file());
    let required = std::env::var_os(REQUIRED).is_some_and(|value| value == "1");
    assert!(found.is_some() || !required, "{REQUIRED}=1, and there is none of {PROGRAMS:?} in PATH");
    if found.is_none() {
        eprintln!(
            "NOT LOOKED AT: none of {PROGRAMS:?} is in PATH; install chromium, or set {REQUIRED}=1 to fail"
        );
    }
    found
}

/// Ends the browser with the test.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the script found in the page, and what the browser complained of.
fn open(program: &Path, page: &Path, folder: &Path, dark: bool, width: u32) -> (Value, String) {
    let html = std::fs::read_to_string(page).unwrap();
    let measured = folder.join(format!("measured-{width}-{dark}.html"));
    // Before everything else: errors while loading count too. Whatever the page wants to fetch is refused and counted.
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";
    let policy = format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">");
    let script = format!("<head><script>{SCRIPT}</script>{policy}");
    std::fs::write(&measured, html.replacen("<head>", &script, 1)).unwrap();
    let (out, errors) = (folder.join("dom"), folder.join("errors"));
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let mut command = Command::new(program);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--no-first-run", "--enable-logging=stderr", "--dump-dom"]);
    command.args([profile, format!("--window-size={width},4000"), format!("file://{}", measured.display())]);
    if dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    command.stdin(Stdio::null());
    command.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&errors).unwrap());
    let mut browser = Browser(command.spawn().unwrap());
    let deadline = Instant::now() + LIMIT;
    while browser.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the browser did not end in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let read = |path: &Path| {
        let mut text = Vec::new();
        std::fs::File::open(path).unwrap().read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    let (dom, errors) = (read(&out), read(&errors));
    let begin = dom.find("MEASURED{").unwrap_or_else(|| panic!("nothing measured: {errors}\n{dom}")) + 8;
    let end = begin + dom[begin..].find("MEASURED").unwrap();
    let found = dom[begin..end].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    (serde_json::from_str(&found).unwrap(), errors)
}

fn assert_drawn(found: &Value, errors: &str, context: &str) {
    assert_eq!(found["errors"], Value::Array(Vec::new()), "{context}");
    assert!(!errors.contains("CONSOLE"), "{context}: {errors}");
    assert_eq!(found["fetched"], Value::Array(Vec::new()), "{context}: the page needs no other file");
    assert_eq!(found["sideways"], false, "{context}: the page is wider than its window");
    let pictures = found["pictures"].as_array().unwrap();
    for picture in pictures {
        let name = picture["name"].as_str().unwrap();
        assert!(!name.is_empty(), "{context}: every picture has a name for those who cannot see it");
        assert!(picture["marks"].as_u64().unwrap() > 0, "{context}, {name}: nothing is drawn");
        assert!(picture["texts"].as_u64().unwrap() > 2, "{context}, {name}: nothing is written");
        assert_eq!(picture["titles"], picture["marks"], "{context}, {name}: every mark tells its value");
        for fault in ["empty", "outside", "overlapping", "unseen"] {
            assert_eq!(picture[fault], Value::Array(Vec::new()), "{context}, {name}: {fault}");
        }
    }
}

fn assert_page(page: &Path, folder: &Path, pictures: usize, tables: u64) {
    let html = std::fs::read_to_string(page).unwrap();
    for outside in ["http://", "https://", "<script", "url(", "@import"] {
        assert!(!html.contains(outside), "{outside} in the page");
    }
    let Some(program) = chromium() else { return };
    for (dark, width) in [(false, 1200), (true, 1200), (false, 500)] {
        let (found, errors) = open(&program, page, folder, dark, width);
        let context = format!("dark: {dark}, {width} px wide");
        assert_eq!(found["dark"], dark, "{context}");
        assert_eq!(found["pictures"].as_array().unwrap().len(), pictures, "{context}");
        assert!(found["tables"].as_u64().unwrap() >= tables, "{context}");
        assert!(
            found["heading"].as_str().unwrap().contains("phalanx bench"),
            "{context}: {}",
            found["heading"]
        );
        assert_drawn(&found, &errors, &context);
    }
}

fn bench(folder: &Path, options: &[&str]) -> PathBuf {
    let page = folder.join("page.html");
    let run = Run::start_command(&["bench"], &[options, &["--report", page.to_str().unwrap()]].concat());
    let traces = run.traces();
    let ended = run.finish();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stdout.is_empty(), "the page comes beside the report");
    traces.assert_gone();
    page
}

#[test]
fn the_page_of_the_rings_is_drawn_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let page = bench(folder.path(), &["ring", "--rounds", "2", "--millis", "3"]);
    // Four sizes, round trips, wake-ups; throughputs, latencies, targets.
    assert_page(&page, folder.path(), 6, 3);
}

#[test]
fn the_page_of_the_executors_is_drawn_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let page = bench(folder.path(), &["executor", "--quick"]);
    // For each signature mode: throughput, scaling of six workloads (there is no trace), predictions. One block, wake-ups.
    assert_page(&page, folder.path(), 2 * (1 + 6 + 1) + 1 + 1, 3);
}

#[test]
fn a_page_that_cannot_be_written_ends_with_1_before_anything_is_measured() {
    let run = Run::start_command(&["bench", "ring"], &["--report", "/no/such/folder/page.html"]);
    let ended = run.finish();
    assert_eq!((ended.code(), ended.stdout.as_str()), (1, ""));
    assert!(
        ended.stderr.contains("/no/such/folder") && ended.stderr.contains("--report"),
        "{}",
        ended.stderr
    );
}

#[test]
fn whatever_is_broken_in_a_page_is_found() {
    let Some(program) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let options =
        ["ring", "--rounds", "1", "--millis", "2", "--payload", "64", "--transport", "rtrb,phalanx-ring"];
    let page = bench(folder.path(), &options);
    let whole = std::fs::read_to_string(&page).unwrap();
    let broken = |from: &str, to: &str| {
        assert!(whole.contains(from), "no {from} in the page");
        std::fs::write(&page, whole.replacen(from, to, 1)).unwrap();
        open(&program, &page, folder.path(), false, 1200)
    };
    let (found, errors) = broken("<main>", "<main>");
    assert_drawn(&found, &errors, "as it was");
    let fault = |(found, _): &(Value, String), fault: &str| {
        found["pictures"][0][fault].as_array().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(fault(&broken(" r=\"5.0\"", " r=\"0\""), "empty").len(), 1);
    assert!(!fault(&broken("--s1: #2a78d6", "--s1: #fcfcfb"), "unseen").is_empty());
    let label = |x: u32| {
        format!("role=\"img\"><text x=\"{x}\" y=\"20\">one</text><text x=\"{x}\" y=\"21\">other</text><g")
    };
    let twice = broken("role=\"img\"", &label(400));
    assert_eq!(fault(&twice, "overlapping"), ["\"one | other\""]);
    assert_eq!(fault(&broken("role=\"img\"", &label(958)), "outside").len(), 2);
    for outside in ["<img src=\"other.png\" alt=\"\">", "<style>@import 'other.css';</style>"] {
        let (found, _) = broken("<main>", &format!("<main>{outside}"));
        assert_eq!(found["fetched"].as_array().unwrap().len(), 1, "{outside}: {found}");
    }
    let (found, _) = broken("<main>", "<main><div style=\"width: 3000px\">wide</div>");
    assert_eq!(found["sideways"], true);
    let (found, errors) = broken("<main>", "<main><script>console.error('on purpose'); nothing()</script>");
    assert!(errors.contains("on purpose") && errors.contains("CONSOLE"), "{errors}");
    assert_eq!(found["errors"].as_array().unwrap().len(), 1, "{found}");
}

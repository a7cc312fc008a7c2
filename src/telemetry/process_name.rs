//! The name under which this process writes its log lines.

use parking_lot::RwLock;

static NAME: RwLock<Option<String>> = RwLock::new(None);

/// Names this process for its log lines; also as the kernel shows it (`ps`, `pgrep`).
pub(crate) fn name_process(name: &str) {
    *NAME.write() = Some(name.to_owned());
    if let Err(error) = phalanx_ipc::set_process_name(name) {
        tracing::warn!(%error, "process keeps its old name");
    }
}

/// The name, or `phalanx` for a coordinator.
pub(super) fn process_name() -> String {
    NAME.read().clone().unwrap_or_else(|| "phalanx".to_owned())
}

//! The supervisor for the built-in virtual machine, for hosts whose own `main` cannot call the entry hook.

fn main() {
    phalanx::supervisor_entry();
    eprintln!("phalanx-supervisor is started by a program that embeds phalanx, not by hand");
    std::process::exit(2);
}

//! The process's allocator, told to give back what statements no longer hold.
//!
//! Owns: one setting of glibc's, which is read when a process starts. Never: a setting that its operator made.
//!
//! By default glibc keeps a heap for each thread, and what one thread freed there serves no other. Under many statements at
//! once the process then holds several times what `server.limits.memory` lets them have.

/// What glibc reads.
const SETTING: &str = "MALLOC_ARENA_MAX";

/// Starts the program anew, as the same process, with one heap for all threads, unless the setting is made. Elsewhere
/// than on glibc, and where that fails, it goes on as it is.
pub fn one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::os::unix::process::CommandExt;
        if std::env::var_os(SETTING).is_some() {
            return;
        }
        let mut arguments = std::env::args_os();
        let name = arguments.next();
        let Ok(program) = std::env::current_exe() else { return };
        let mut command = std::process::Command::new(program);
        if let Some(name) = name {
            command.arg0(name);
        }
        // It returns only if it failed.
        let error = command.args(arguments).env(SETTING, "1").exec();
        tracing::warn!(%error, "memory may grow beyond its bound: set {SETTING}=1");
    }
}

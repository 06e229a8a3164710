//! What the figures were taken on.

use std::{fs, thread};

use serde::Serialize;

/// The machine, as far as it says so.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    processor: String,
    threads: usize,
    system: String,
    /// Processes that wanted to run in the last minute, before this one began.
    load: Option<f64>,
}

impl Machine {
    /// This one, now.
    pub(super) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease");
        Self {
            processor: processor(&read("/proc/cpuinfo")).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            threads: threads(),
            system: format!("{} {}", std::env::consts::OS, kernel.trim()).trim_end().to_owned(),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }

    /// What to say where others use the machine as well.
    pub(super) fn warning(&self) -> Option<String> {
        let load = self.load.filter(|&load| load > 0.5)?;
        Some(format!("other work is running here (load {load:.1}): the figures will be too low, in unequal measure"))
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}, {} threads, {}", self.processor, self.threads, self.system)?;
        self.load.map_or(Ok(()), |load| write!(formatter, ", load {load:.2} at the start"))
    }
}

/// Threads that run at once.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_a_name() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 9B14\ncache size\t: 1024 KB\nmodel name\t: other\n";
        assert_eq!(processor(cpuinfo).as_deref(), Some("AMD EPYC 9B14"));
        assert_eq!(processor("Features\t: fp asimd"), None);
    }

    #[test]
    fn a_busy_machine_is_warned_of() {
        let machine = |load| Machine { load, ..Machine::here() };
        assert!(machine(Some(7.4)).warning().is_some());
        assert!(machine(Some(0.2)).warning().is_none());
        assert!(machine(None).warning().is_none());
    }
}

//! Colours and type.

use tmem_core::settings::MemoryKind;

use crate::report::{Report, Row};

/// The style sheet. Lines and points take the `color` of their series, so that a series is one class in both themes.
/// Every colour has a contrast of at least 3 : 1 to the page of its theme.
pub(super) const SHEET: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#24292f}
.page{fill:#fff}
.title{font-size:15px;font-weight:600}
.heading{font-weight:600}
.quiet{fill:#59636e}
.tick{fill:#59636e;font-size:11px}
.axis{fill:none;stroke:#8c959f;stroke-width:1}
.grid{fill:none;stroke:#e6e9ed;stroke-width:1}
.whisker{fill:none;stroke:#24292f;stroke-width:1.3}
.error{fill:none;stroke:currentColor;stroke-width:1.2;opacity:.6}
.curve{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}
.mark{fill:currentColor}
.bar{fill:currentColor;opacity:.8}
.name{fill:currentColor;font-weight:600}
.aside{fill:currentColor;font-size:11px}
.s0{color:#6e7781}
.s1{color:#a56300}
.s2{color:#0a6fb5}
.s3{color:#1a7f4b}
.s4{color:#cf3b4e}
.s5{color:#7c4fd0}
.s6{color:#0f7f86}
.s7{color:#b0398f}
@media (prefers-color-scheme:dark){
text{fill:#e6e9ed}
.page{fill:#15191f}
.quiet,.tick{fill:#9aa4af}
.axis{stroke:#6b7580}
.grid{stroke:#2a3038}
.whisker{stroke:#e6e9ed}
.mark,.bar,.name,.aside{fill:currentColor}
.s0{color:#9aa4af}
.s1{color:#e0a03c}
.s2{color:#58aef0}
.s3{color:#4fc185}
.s4{color:#ff7b88}
.s5{color:#b496ff}
.s6{color:#45c4cc}
.s7{color:#f083cf}
}
";

/// Colours there are.
const SERIES: usize = 8;

/// The class of a series.
pub(super) fn series(index: usize) -> String {
    format!("s{}", index % SERIES)
}

/// The series of a strategy: the same colour and shape in every plot of every report.
pub(super) fn of_memory(memory: MemoryKind) -> usize {
    match memory {
        MemoryKind::None => 0,
        MemoryKind::Summary => 1,
        MemoryKind::Retrieval => 2,
        MemoryKind::Cards => 3,
        MemoryKind::Tmem => 4,
        MemoryKind::TmemText => 5,
    }
}

/// A series for what is told apart by its index; strong colours first.
pub(super) fn in_turn(index: usize) -> usize {
    [4, 2, 3, 1, 5, 6, 7, 0][index % SERIES]
}

/// Whether a strategy's colour tells something: there are several.
pub(super) fn several_memories(report: &Report) -> bool {
    report.rows.iter().any(|row| row.memory != report.rows[0].memory)
}

/// The series of every row where its name stands beside it: the strategy's, or the row's own of one strategy alone.
pub(super) fn of_rows(report: &Report) -> Vec<usize> {
    let several = several_memories(report) || report.rows.len() == 1;
    let series = |(index, row): (usize, &Row)| if several { of_memory(row.memory) } else { in_turn(index) };
    report.rows.iter().enumerate().map(series).collect()
}

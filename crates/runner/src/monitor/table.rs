//! The summary of a run for a terminal: at most 25 lines of at most 100 characters.

use super::{
    number::share,
    summary::{DeviceSummary, RunSummary},
};

const WIDTH: usize = 100;
const LINES: usize = 25;
const MAX_TASKS: usize = 3;
const MAX_DEVICES: usize = 3;

impl RunSummary {
    /// A compact table of the run: totals, a row per stage and per encoder, the devices, and the
    /// bottleneck in the last sentence.
    pub fn table(&self) -> String {
        let mut below = Vec::new();
        below.extend(capped(
            "encoder",
            &["sequences", "tokens", "tokens/s", "packed", "compute s"],
            MAX_TASKS,
            self.tasks.iter().map(|task| {
                let cells = vec![
                    grouped(task.sequences as f64),
                    grouped(task.tokens as f64),
                    grouped(task.tokens_per_s_of_compute),
                    task.packing_efficiency.map_or("-".to_owned(), percent),
                    format!("{:.2}", task.compute_ms / 1e3),
                ];
                (task.task.clone(), cells)
            }),
        ));
        below.extend(device_lines(&self.devices));
        if let Some(process) = &self.process {
            below.push(format!(
                "process: CPU {:.0} % of all cores, resident memory up to {}",
                process.cpu_percent_mean,
                gibibytes(process.resident_bytes_max)
            ));
        }
        if self.warning_count > 0 {
            let first = self.warnings.first().map_or("", String::as_str);
            below.push(format!("warnings: {}, the first: {first}", self.warning_count));
        }
        let mut lines = self.totals();
        // The stages take what the rest leaves: two lines for the last sentence, one for the header.
        let most = LINES - 3 - lines.len() - below.len();
        lines.extend(self.stage_lines(most));
        lines.extend(below);
        for line in &mut lines {
            *line = cut(line, WIDTH);
        }
        if let Some(bottleneck) = &self.bottleneck {
            let text = format!("bottleneck ({}): {}", bottleneck.tier.name(), bottleneck.advice);
            lines.extend(wrapped(&text));
        }
        lines.join("\n") + "\n"
    }

    fn stage_lines(&self, most: usize) -> Vec<String> {
        let rows = self.stages.iter().map(|stage| {
            let whole = self.elapsed_ms * stage.workers.max(1) as f64;
            let of = |ms: f64| percent(share(ms, whole));
            let waits = (of(stage.wait_in_ms), of(stage.wait_out_ms));
            let cells = vec![stage.workers.to_string(), percent(stage.busy), waits.0, waits.1];
            (stage.name.clone(), cells)
        });
        capped("stage", &["workers", "busy", "waits in", "waits out"], most, rows)
    }

    fn totals(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{:.1} s: {} sequences, {} tokens in {} batches; {} answered from the cache",
                self.elapsed_ms / 1e3,
                grouped(self.sequences as f64),
                grouped(self.tokens as f64),
                grouped(self.batches as f64),
                grouped(self.duplicates as f64)
            ),
            format!(
                "{} tokens/s, {} sequences/s, packing_efficiency {}",
                grouped(self.tokens_per_s),
                grouped(self.sequences_per_s),
                self.packing_efficiency.map_or("-".to_owned(), percent)
            ) + &self.device_idle.map_or(String::new(), |idle| {
                format!(", device idle between batches {}", percent(idle))
            }),
            format!(
                "loader wait: mean {:.2} ms, longest {:.2} ms; queue full {}, normal {}, starved {}",
                self.wait.mean_ms,
                self.wait.max_ms,
                self.wait.full,
                self.wait.normal,
                self.wait.starved
            ),
        ];
        if self.non_finite > 0 || self.recomputed > 0 {
            lines.push(format!(
                "{} sequences not finite, {} computed again in f32",
                grouped(self.non_finite as f64),
                grouped(self.recomputed as f64)
            ));
        }
        lines
    }
}

/// A header and its rows, the first column left and the others right aligned; rows over `most` are
/// replaced by their number.
fn capped(
    title: &str,
    columns: &[&str],
    most: usize,
    rows: impl Iterator<Item = (String, Vec<String>)>,
) -> Vec<String> {
    let mut rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let hidden = if rows.len() > most { rows.len() - (most - 1) } else { 0 };
    rows.truncate(rows.len() - hidden);
    let header = (title.to_owned(), columns.iter().map(|name| (*name).to_owned()).collect());
    rows.insert(0, header);
    let width_of = |column: usize| {
        rows.iter().map(|(_, cells)| cells[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width_of).collect();
    let numbers: usize = widths.iter().map(|width| width + 2).sum();
    let longest = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let first = longest.min(WIDTH.saturating_sub(numbers).max(8));
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, cells)| {
            let mut line = format!("{:<first$}", cut(name, first));
            for (cell, width) in cells.iter().zip(&widths) {
                line += &format!("  {cell:>width$}");
            }
            line
        })
        .collect();
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    lines
}

fn device_lines(devices: &[DeviceSummary]) -> Vec<String> {
    capped(
        "device",
        &["used", "most", "memory", "power W", "max °C", "energy kJ"],
        MAX_DEVICES,
        devices.iter().map(|device| {
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |it| format!("{it:.0}"));
            let used = |value: Option<f64>| value.map_or("-".to_owned(), |it| format!("{it:.0} %"));
            let cells = vec![
                used(device.utilisation_percent_mean),
                used(device.utilisation_percent_max),
                device.memory_used_bytes_max.map_or("-".to_owned(), gibibytes),
                number(device.power_watts_mean),
                number(device.temperature_celsius_max),
                device.energy_joules.map_or("-".to_owned(), |it| format!("{:.1}", it / 1e3)),
            ];
            (format!("{} {}", device.name, device.bus_id), cells)
        }),
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}

/// A whole number with a comma at each thousand.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The first line of `text`, at most `width` characters of it.
fn cut(text: &str, width: usize) -> String {
    let line = text.lines().next().unwrap_or("");
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `text` over two lines at most, broken at a blank.
fn wrapped(text: &str) -> Vec<String> {
    if text.chars().count() <= WIDTH {
        return vec![text.to_owned()];
    }
    let limit = text.char_indices().nth(WIDTH).map_or(text.len(), |(index, _)| index);
    let end = text[..limit].rfind(' ').unwrap_or(limit);
    let (first, rest) = text.split_at(end);
    vec![first.to_owned(), cut(&format!("  {}", rest.trim_start()), WIDTH)]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            bottleneck::{Bottleneck, Tier},
            summary::{ProcessSummary, StageSummary, TaskSummary, WaitSummary},
        },
        *,
    };

    fn summary(stages: usize, tasks: usize, devices: usize) -> RunSummary {
        let name = |index: usize| format!("stage-with-a-rather-long-name-{index}");
        RunSummary {
            schema_version: 1,
            elapsed_ms: 2000.0,
            batches: 1000,
            sequences: 1_234_567,
            tokens: 123_456_789,
            tokens_per_s: 61_728_394.5,
            sequences_per_s: 617_283.5,
            device_idle: None,
            packing_efficiency: Some(0.9871),
            duplicates: 10,
            non_finite: 2,
            recomputed: 2,
            htod_bytes: 1,
            dtoh_bytes: 1,
            wait: WaitSummary { mean_ms: 0.1, max_ms: 3.0, full: 999, normal: 1, starved: 0 },
            stages: (0..stages)
                .map(|index| StageSummary {
                    name: name(index),
                    workers: 2,
                    busy_ms: 3000.0,
                    wait_in_ms: 1000.0,
                    wait_out_ms: 0.0,
                    busy: 0.75,
                })
                .collect(),
            tasks: (0..tasks)
                .map(|index| TaskSummary {
                    task: format!("encoder {index} {}", "ä".repeat(200)),
                    batches: 500,
                    sequences: 600_000,
                    tokens: 60_000_000,
                    max_seqlen: 1024,
                    mean_seqlen: 100.0,
                    packing_efficiency: Some(0.99),
                    htod_ms: 1.0,
                    compute_ms: 1800.0,
                    dtoh_ms: 1.0,
                    tokens_per_s_of_compute: 33_333_333.3,
                })
                .collect(),
            devices: (0..devices)
                .map(|index| DeviceSummary {
                    bus_id: format!("00000000:0{index}:00.0"),
                    name: "NVIDIA H200".to_owned(),
                    utilisation_percent_mean: Some(93.4),
                    utilisation_percent_max: Some(100.0),
                    memory_used_bytes_max: Some(150 << 30),
                    power_watts_mean: Some(655.0),
                    temperature_celsius_max: None,
                    energy_joules: Some(12_345.6),
                })
                .collect(),
            process: Some(ProcessSummary { cpu_percent_mean: 80.0, resident_bytes_max: 1 << 30 }),
            bottleneck: Some(Bottleneck {
                tier: Tier::Critical,
                utilisation_percent: 30.0,
                slowest_stage: "read".to_owned(),
                slowest_busy: 0.97,
                advice: format!("The slowest stage is `read`: {}", "do a thing ".repeat(20)),
            }),
            warnings: vec!["a warning ".repeat(30)],
            warning_count: 7,
        }
    }

    #[test]
    fn table_of_any_run_fits_a_terminal() {
        for (stages, tasks, devices) in [(0, 0, 0), (5, 2, 1), (30, 9, 16)] {
            let table = summary(stages, tasks, devices).table();
            assert!(table.lines().count() <= LINES, "{} lines:\n{table}", table.lines().count());
            for line in table.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn table_shows_shares_rates_and_the_bottleneck_last() {
        let mut summary = summary(2, 1, 1);
        summary.tasks[0].task = "esm2".to_owned();
        if let Some(bottleneck) = &mut summary.bottleneck {
            bottleneck.advice = "The slowest stage is `read`.".to_owned();
        }
        let table = summary.table();
        for part in ["123,456,789 tokens", "617,284 sequences/s", "98.7 %", "33,333,333", "93 %"] {
            assert!(table.contains(part), "{part} is missing in\n{table}");
        }
        let row = table.lines().find(|line| line.starts_with("stage-with")).unwrap();
        let cells: Vec<&str> =
            row.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
        assert_eq!(cells, ["stage-with-a-rather-long-name-0", "2", "75.0 %", "25.0 %", "0.0 %"]);
        assert_eq!(
            table.lines().last(),
            Some("bottleneck (critical): The slowest stage is `read`.")
        );
    }

    #[test]
    fn table_rows_of_a_section_are_aligned() {
        let table = summary(3, 0, 0).table();
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("stage")).collect();
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{table}");
    }

    #[test]
    fn grouped_number_has_a_comma_each_thousand() {
        for (value, text) in
            [(0.0, "0"), (999.0, "999"), (1000.0, "1,000"), (1234567.8, "1,234,568")]
        {
            assert_eq!(grouped(value), text);
        }
    }
}

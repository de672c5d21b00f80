//! Which contigs the example file holds. Must not know how a genome is put together.

mod genome;
mod profile;
mod random;

use genome::{Strands, coding_stretch, noncoding_stretch, reverse_complement};
use profile::Profile;
use random::Random;

/// Letters of a sequence line.
const LINE_NT: usize = 60;

/// The whole file.
pub(crate) fn fasta() -> String {
    let mut contigs = genomes();
    contigs.extend(special_cases());
    let mut text = String::new();
    for Contig { id, description, letters } in contigs {
        text.push_str(&format!(">{id} {description}\n"));
        for line in letters.as_bytes().chunks(LINE_NT) {
            text.extend(line.iter().map(|&letter| char::from(letter)));
            text.push('\n');
        }
    }
    text
}

struct Contig {
    id: String,
    description: &'static str,
    letters: String,
}

impl Contig {
    fn new(id: impl Into<String>, description: &'static str, letters: String) -> Self {
        Self { id: id.into(), description, letters }
    }
}

/// One group of contigs that differ in length and in nothing else.
struct Group {
    name: &'static str,
    description: &'static str,
    profile: &'static Profile,
    strands: Strands,
    lengths_nt: [usize; 6],
}

const GROUPS: [Group; 4] = [
    Group {
        name: "phage",
        description: "statistics of cyanophages",
        profile: &profile::CYANOPHAGE,
        strands: Strands::One,
        lengths_nt: [5800, 4200, 3100, 2400, 4900, 3600],
    },
    Group {
        name: "phage",
        description: "statistics of T7-like phages",
        profile: &profile::T7_LIKE_PHAGE,
        strands: Strands::One,
        lengths_nt: [5600, 4100, 3000, 2500, 4800, 3500],
    },
    Group {
        name: "host",
        description: "statistics of bacteria of low GC",
        profile: &profile::BACTERIUM_LOW_GC,
        strands: Strands::Operons,
        lengths_nt: [5900, 4300, 3200, 2300, 4700, 3700],
    },
    Group {
        name: "host",
        description: "statistics of bacteria of medium GC",
        profile: &profile::BACTERIUM_MEDIUM_GC,
        strands: Strands::Operons,
        lengths_nt: [5700, 4000, 3300, 2600, 5000, 3400],
    },
];

fn genomes() -> Vec<Contig> {
    let mut contigs: Vec<Contig> = Vec::new();
    for (seed, group) in (1..).zip(&GROUPS) {
        let mut random = Random::new(seed);
        for length_nt in group.lengths_nt {
            let prefix = format!("synthetic_{}_", group.name);
            let number = contigs.iter().filter(|c| c.id.starts_with(&prefix)).count() + 1;
            let mut letters = coding_stretch(group.profile, group.strands, length_nt, &mut random);
            if random.below(2) == 1 {
                letters = reverse_complement(&letters);
            }
            contigs.push(Contig::new(format!("{prefix}{number:02}"), group.description, letters));
        }
    }
    contigs
}

/// Contigs that a reader of real data meets sooner or later.
fn special_cases() -> Vec<Contig> {
    let mut random = Random::new(100);
    let phage = |length_nt, random: &mut Random| {
        coding_stretch(&profile::CYANOPHAGE, Strands::One, length_nt, random)
    };
    let gap = phage(3000, &mut random);
    let gap = format!("{}{}{}", &gap[..1400], "N".repeat(300), &gap[1700..]);
    let masked = phage(2500, &mut random);
    let masked =
        format!("{}{}{}", &masked[..800], masked[800..1600].to_ascii_lowercase(), &masked[1600..]);
    let intergenic = noncoding_stretch(&profile::VERTEBRATE_NONCODING, 3000, &mut random);
    // Holds a stop codon in each of the six frames, and again wherever a chunk starts.
    let stops = "CTAACTAACTAATTAGTTAGTTAG";
    let spacer = noncoding_stretch(&profile::VERTEBRATE_NONCODING, 1200, &mut random);
    let closed: String = spacer
        .as_bytes()
        .chunks(100)
        .flat_map(|piece| piece.iter().copied().map(char::from).chain(stops.chars()))
        .collect();
    vec![
        Contig::new(
            "synthetic_phage_n_stretch",
            "statistics of cyanophages, 300 letters unknown",
            gap,
        ),
        Contig::new(
            "synthetic_phage_lower_case",
            "statistics of cyanophages, a repeat masked in lower case",
            masked,
        ),
        Contig::new(
            "synthetic_intergenic",
            "letter pairs of vertebrate genomes, no genes",
            intergenic,
        ),
        Contig::new("synthetic_no_open_frame", "a stop codon in every frame", closed),
        Contig::new("synthetic_all_n", "nothing known", "N".repeat(700)),
        Contig::new("synthetic_two_letters", "shorter than a codon", "AC".into()),
    ]
}

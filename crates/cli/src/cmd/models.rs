//! `virnucpro models`.

use std::path::Path;

use serde_json::json;
use virnucpro_pipeline::{Bundle, BundleRecipe, Checkpoint, Converted, bundle, convert};

use crate::args::{ModelsArgs, ModelsCommand};

pub(crate) fn run(args: &ModelsArgs) -> anyhow::Result<()> {
    match &args.command {
        ModelsCommand::Convert { input, output } => {
            match convert(input, output)? {
                Converted::Encoder(architecture) => println!("{architecture} encoder"),
                Converted::Classifier => println!("classifier"),
            }
            println!("wrote {}", output.display());
            Ok(())
        }
        ModelsCommand::Inspect { input, json } => inspect(input, *json),
        ModelsCommand::Bundle { protein, nucleotide, classifier, name, output } => {
            let default_name = output.file_stem().unwrap_or(output.as_os_str()).to_string_lossy();
            let recipe = BundleRecipe {
                name: name.clone().unwrap_or_else(|| default_name.into_owned()),
                protein_encoder: protein.clone(),
                nucleotide_encoder: nucleotide.clone(),
                classifiers: classifier.clone(),
            };
            bundle::create(&recipe, output)?;
            print_bundle(&Bundle::open(output)?, false)?;
            println!("wrote {}", output.display());
            Ok(())
        }
    }
}

fn inspect(path: &Path, as_json: bool) -> anyhow::Result<()> {
    if path == Path::new("mini") && !path.exists() {
        return print_bundle(&Bundle::mini()?, as_json);
    }
    if Bundle::is_at(path) {
        return print_bundle(&Bundle::open(path)?, as_json);
    }
    let summary = Checkpoint::open(path)?.summary();
    if as_json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!("{summary}");
    }
    Ok(())
}

fn print_bundle(bundle: &Bundle, as_json: bool) -> anyhow::Result<()> {
    let manifest = bundle.manifest();
    let encoders = [bundle.protein_encoder()?, bundle.nucleotide_encoder()?];
    let described: Vec<_> = encoders
        .iter()
        .map(|encoder| {
            let config = encoder.config();
            let parameters = encoder.checkpoint().summary().total_parameters;
            (config.architecture(), config.num_hidden_layers(), config.hidden_size(), parameters)
        })
        .collect();
    if as_json {
        let encoders: Vec<_> = described
            .iter()
            .map(|(architecture, layers, hidden_size, parameters)| {
                json!({
                    "architecture": architecture,
                    "num_hidden_layers": layers,
                    "hidden_size": hidden_size,
                    "parameters": parameters,
                })
            })
            .collect();
        let whole = json!({ "manifest": manifest, "encoders": encoders });
        println!("{}", serde_json::to_string_pretty(&whole)?);
        return Ok(());
    }
    println!("bundle {} ({})", manifest.name, bundle.source());
    for (architecture, layers, hidden_size, parameters) in described {
        println!(
            "  {architecture}: {layers} layers, hidden_size {hidden_size}, {parameters} parameters"
        );
    }
    for classifier in &manifest.classifiers {
        let lengths: Vec<String> = classifier.chunk_lengths.iter().map(usize::to_string).collect();
        println!("  classifier for chunk length {}: {}", lengths.join(", "), classifier.path);
    }
    println!("  every file matches its SHA-256");
    Ok(())
}

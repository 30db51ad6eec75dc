//! Puts the console into the library: every file under web/ that a browser loads, as it is and compressed. Run by cargo;
//! it needs no Node and changes nothing outside its own folder.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web").canonicalize()?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let console = web.join("console");
    println!("cargo:rerun-if-changed={}", console.display());
    let mut files = vec![("/".to_owned(), web.join("index.html"))];
    for entry in fs::read_dir(&console)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).ok_or("a file of the console has a strange name")?;
        files.push((format!("/console/{name}"), path.clone()));
    }
    files.sort();
    let mut list = String::from("pub(crate) static FILES: &[File] = &[\n");
    for (number, (path, source)) in files.iter().enumerate() {
        println!("cargo:rerun-if-changed={}", source.display());
        let bytes = fs::read(source)?;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&bytes)?;
        let packed = out.join(format!("{number}.gz"));
        fs::write(&packed, encoder.finish()?)?;
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let kind = kind(source).ok_or_else(|| format!("{}: no type is known for it", source.display()))?;
        writeln!(
            list,
            "    File {{ path: {path:?}, kind: {kind:?}, tag: \"\\\"{:016x}\\\"\", plain: include_bytes!({source:?}), gzip: include_bytes!({packed:?}) }},",
            hasher.finish()
        )?;
    }
    list.push_str("];\n");
    fs::write(out.join("console.rs"), list)?;
    Ok(())
}

fn kind(path: &Path) -> Option<&'static str> {
    Some(match path.extension()?.to_str()? {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

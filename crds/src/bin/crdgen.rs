//! Prints the CRDs as YAML. The chart's `crds` subchart holds this output, and a test compares the two.

use anyhow::Result;

fn main() -> Result<()> {
    for crd in crds::all() {
        println!("---");
        print!("{}", serde_yaml::to_string(&crd)?);
    }
    Ok(())
}

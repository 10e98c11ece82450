//! The same for many, at once: most of what the lab does is waiting for somebody else's program.

use std::thread;

use anyhow::{Result, bail};

/// Does something with each, all at once; what came of it, in their order.
///
/// # Errors
/// Everything that went wrong, a line each.
pub fn each<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(|| act(item))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    if results.iter().all(Result::is_ok) {
        return results.into_iter().collect();
    }
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    bail!(
        "{}",
        errors
            .iter()
            .map(|error| format!("{error:#}"))
            .collect::<Vec<_>>()
            .join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_said_and_the_order_is_kept() {
        let halves = |number: &u32| {
            anyhow::ensure!(number.is_multiple_of(2), "{number} is odd");
            Ok(number / 2)
        };
        assert_eq!(each(&[2, 4], halves).expect("even"), [1, 2]);
        let error = each(&[1, 2, 3], halves).expect_err("odd").to_string();
        assert_eq!(error, "1 is odd\n3 is odd");
    }
}

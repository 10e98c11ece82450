//! Health checks of which no probe could be made: what no schema can say of their strings.

use super::Refusal;
use crds::HealthCheck;
use crds::conditions::reason;

/// Whether every check's probe can be made.
///
/// # Errors
/// The first field that stands in the way, and what to change.
pub(crate) fn askable(checks: Option<&[HealthCheck]>) -> Result<(), Refusal> {
    for (index, check) in checks.unwrap_or_default().iter().enumerate() {
        let content = check.content();
        content.map_err(|wrong| Refusal::new(reason::INVALID, format!("healthChecks[{index}].{wrong}")))?;
    }
    Ok(())
}

use super::hashing::ShardCount;
use super::router::Router;
use crate::rng::Rng;
#[derive(Debug, thiserror::Error)]
pub enum SetupError {}
pub async fn shards_of_cluster(_r: &Router, _rng: &dyn Rng, s: ShardCount) -> Result<ShardCount, SetupError> {
    Ok(s)
}

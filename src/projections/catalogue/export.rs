//! Writing the catalogue out: products of every status, group by group in id order, one page in memory at a time.
//!
//! An export reads this node's store beside running traffic: each product is as it was at some moment during the
//! export.

use bytes::Bytes;
use futures::stream::{Stream, try_unfold};

use super::{CatalogueFormat, encode};
use crate::domain::ids::EntityId;
use crate::domain::registry::Kind;
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;
use crate::projections::states::{self, Folded};

/// Products folded for one piece of the output.
const PAGE_PRODUCTS: usize = 64;

/// Where an export is.
struct Export {
    journal: Journal,
    format: CatalogueFormat,
    /// Groups not yet finished; the last one is being read.
    groups: Vec<GroupId>,
    after: Option<EntityId>,
    has_begun: bool,
}

/// The file in pieces. Deleted products are left out.
pub fn export(
    journal: Journal,
    groups: &[GroupId],
    format: CatalogueFormat,
) -> impl Stream<Item = Result<Bytes, JournalError>> + Send + use<> {
    let groups = groups.iter().rev().copied().collect();
    try_unfold(Export { journal, format, groups, after: None, has_begun: false }, |mut export| async move {
        Ok(export.next_piece().await?.map(|piece| (piece, export)))
    })
}

impl Export {
    async fn next_piece(&mut self) -> Result<Option<Bytes>, JournalError> {
        let mut piece = Vec::new();
        if !self.has_begun {
            self.has_begun = true;
            piece.extend(encode::beginning(self.format));
        }
        while piece.is_empty() {
            let Some(group) = self.groups.last().copied() else { return Ok(None) };
            let page = self.journal.entities_of_kind(group, Kind::Product, self.after.as_ref(), PAGE_PRODUCTS).await?;
            for entity in &page {
                let folded = states::load(&self.journal, group, entity).await?;
                if let Some(view) = folded.as_ref().and_then(Folded::product) {
                    piece.extend(encode::product(self.format, &view));
                }
            }
            self.after = page.into_iter().next_back();
            if self.after.is_none() {
                self.groups.pop();
            }
        }
        Ok(Some(piece.into()))
    }
}

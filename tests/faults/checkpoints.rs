//! Damaged checkpoints, once the log before them is gone: the older one stands in for the newer, and if neither is good
//! the shop refuses to go on rather than forget.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use crate::auditor::Book;
use crate::client::{Call, Client, PATIENCE};
use crate::damage::{FINDINGS, copy, files, flip, length, put_back, refused, whole};
use crate::shop::Home;

/// Places at which a byte is flipped.
const PLACES: u64 = 4;

/// Checkpoints of the group that has two, oldest first.
fn pair(home: &Home) -> Option<[PathBuf; 2]> {
    let all = files(&home.data().join("checkpoints"));
    let complete: Vec<_> =
        all.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "checkpoint")).collect();
    let group = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned();
    let two = complete.windows(2).find(|two| group(&two[0]) == group(&two[1]))?;
    Some([two[0].clone(), two[1].clone()])
}

/// A home whose log was purged behind two checkpoints of one group, and no process.
pub async fn checkpointed() -> (Home, Book) {
    let (home, book) = (Home::new(), Book::default());
    home.set("STOCKROOM_STORAGE__CHECKPOINT_BYTES_MIN", "1048576");
    home.set("STOCKROOM_NODE__SHARDS", "1");
    let (shop, client) = (home.start().await, Client::new(&home));
    client.list(&["CUP-1"], 1999).await;
    let deadline = Instant::now() + PATIENCE;
    for round in 0.. {
        if home.log().contains("log purged behind two checkpoints") {
            break;
        }
        assert!(Instant::now() < deadline, "no second checkpoint was made: {}", home.tail());
        let description = format!("{round:05}").repeat(3_500);
        let variant = json!({"sku": "BULK-1", "prices": {"USD": 100}});
        let product = json!({"title": "Bulk", "description": description, "variants": [variant]});
        let answer = client.send(&Call::put("/v1/admin/products/bulk", product).merchant()).await;
        assert!(answer.status < 300, "{:#}", answer.body);
        book.stock(&client, "CUP-1", 1).await;
    }
    let cart = client.cart(&[("CUP-1", 1)]).await;
    let placed = client.send(&Client::order(&cart, "tok_ok").wait(20)).await.expect(201);
    book.order(placed["id"].as_str().unwrap());
    book.audit(&home, &client).await;
    shop.stop().await;
    (home, book)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_a_checkpoint_is_survived_by_the_other_one_and_never_overlooked() {
    let (home, book) = checkpointed().await;
    let good = home.root().join("good");
    copy(home.data(), &good);
    let [older, newer] = pair(&home).expect("two checkpoints of a group");
    let store = home.data().join("sled");

    // The store is whole: damaged checkpoints are only noticed, if at all, when the next ones are made.
    flip(&newer, length(&newer) / 2);
    whole(&home, &book.fork()).await;
    put_back(home.data(), &good);

    for place in 0..PLACES {
        let offset = (2 * place + 1) * length(&newer) / (2 * PLACES);
        std::fs::remove_dir_all(&store).unwrap();
        flip(&newer, offset);
        let before = home.log().len();
        whole(&home, &book.fork()).await;
        let said = home.log()[before..].to_owned();
        let name = newer.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name) && said.contains("damaged at byte"), "nobody was told of {name}: {said}");
        put_back(home.data(), &good);
    }

    std::fs::remove_dir_all(&store).unwrap();
    flip(&older, length(&older) / 2);
    whole(&home, &book.fork()).await;
    put_back(home.data(), &good);

    std::fs::remove_dir_all(&store).unwrap();
    flip(&older, length(&older) / 3);
    flip(&newer, length(&newer) / 3);
    let names = [&older, &newer].map(|path| path.file_name().unwrap().to_str().unwrap());
    refused(
        home.try_start().await,
        FINDINGS,
        &["neither in the log nor in a good checkpoint", names[0], names[1], "at byte"],
    );
}

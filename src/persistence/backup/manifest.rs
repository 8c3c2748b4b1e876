//! What belongs to a backup, and whether it is all there.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BackupError, HASH_BYTES, TailReader, named};
use crate::persistence::checkpoint::{Checkpoint, verify_file};
use crate::persistence::files::{DiskFiles, Files};
use crate::persistence::log::GroupId;

const FILE: &str = "manifest.json";
const CHECKSUM_FILE: &str = "manifest.json.sha256";
/// Largest manifest read: hundreds of groups take less than a hundredth of it.
const BYTES_MAX: usize = 4 << 20;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Layout of the backup itself.
    pub format: u32,
    /// Format of the data directory it was made from.
    pub data_format: u32,
    /// Version of the program that made it.
    pub version: String,
    /// When it began (RFC 3339): what was acknowledged before is in it.
    pub created_at: String,
    /// The cluster's id.
    pub cluster: String,
    /// The node it was made on.
    pub node: String,
}

impl About {
    /// The newest layout this program writes and reads.
    pub const FORMAT: u32 = 1;
}

/// What there is of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFiles {
    /// Which.
    pub group: u32,
    /// Its checkpoint; none of a group that had applied nothing.
    pub checkpoint: Option<String>,
    /// Its log behind the checkpoint.
    pub tail: String,
    /// One past the last log entry.
    pub next: u64,
}

impl GroupFiles {
    /// The checkpoint as its keeper knows it.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        Checkpoint::parse(self.checkpoint.as_deref()?, 0)
    }
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// Something wrong with a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which file.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

/// What belongs to a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it is of.
    #[serde(flatten)]
    pub about: About,
    /// Per group.
    pub groups: Vec<GroupFiles>,
    /// Every file but the manifest's own two.
    pub files: Vec<ListedFile>,
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes of one group's files.
    pub fn bytes_of(&self, group: &GroupFiles) -> u64 {
        let belongs = |file: &&ListedFile| file.name == group.tail || Some(&file.name) == group.checkpoint.as_ref();
        self.files.iter().filter(belongs).map(|file| file.bytes).sum()
    }

    /// Files that belong to no group: copied as they were.
    pub fn extras(&self) -> impl Iterator<Item = &ListedFile> {
        let of_group = |name: &str| {
            self.groups.iter().any(|group| group.tail == name || group.checkpoint.as_deref() == Some(name))
        };
        self.files.iter().filter(move |file| !of_group(&file.name))
    }

    pub(super) async fn write(&self, files: &dyn Files) -> Result<(), BackupError> {
        let mut text = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        text.push(b'\n');
        let checksum = format!("{}  {FILE}\n", hex::encode(Sha256::digest(&text)));
        for (name, content) in [(FILE, text), (CHECKSUM_FILE, checksum.into_bytes())] {
            let write = async {
                let mut writer = files.create(name).await?;
                writer.append(content).await?;
                writer.finish().await
            };
            write.await.map_err(|source| named("write", name, source))?;
        }
        Ok(())
    }

    /// Reads the manifest of the backup at `path`. Nothing else is looked at.
    pub async fn read(path: &Path) -> Result<Self, BackupError> {
        let shown = path.join(FILE).display().to_string();
        if !path.join(FILE).is_file() {
            return Err(BackupError::NotABackup { path: path.display().to_string() });
        }
        let bytes = DiskFiles::reading(path).read(FILE, 0, BYTES_MAX).await;
        let bytes = bytes.map_err(|source| named("read", FILE, source))?;
        Self::parse(&bytes).map_err(|reason| BackupError::Manifest { path: shown, reason })
    }

    /// Reads a manifest's text, or says why it is none.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match manifest.about.format {
            format if format > About::FORMAT => {
                Err(format!("its format is {format}, this program knows up to {}", About::FORMAT))
            }
            _ => Ok(manifest),
        }
    }

    /// Reads every file of the backup at `path` and says what is not as it was written. `progress` hears of every
    /// file's bytes.
    pub async fn check(
        &self,
        path: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Vec<Finding>, BackupError> {
        let files = DiskFiles::reading(path);
        let mut findings = Vec::new();
        if let Some(what) = check_manifest(&files).await? {
            findings.push(Finding { file: FILE.to_owned(), what });
        }
        for listed in &self.files {
            if let Some(what) = self.check_file(&files, listed).await? {
                findings.push(Finding { file: listed.name.clone(), what });
            }
            progress(listed.bytes);
        }
        Ok(findings)
    }

    async fn check_file(&self, files: &DiskFiles, expected: &ListedFile) -> Result<Option<String>, BackupError> {
        let found = match listed(files, &expected.name).await {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("it is missing".to_owned())),
            Err(source) => return Err(named("read", &expected.name, source)),
        };
        let frames = self.check_frames(files, &expected.name).await;
        Ok(match (found == *expected, frames) {
            (true, Ok(())) => None,
            (_, Err(error)) => Some(error.to_string()),
            (false, Ok(())) if found.bytes == expected.bytes => Some("its SHA-256 is not the one listed".to_owned()),
            (false, Ok(())) => Some(format!("{} bytes listed, {} found", expected.bytes, found.bytes)),
        })
    }

    /// Checksums inside the file: they tell where the damage is.
    async fn check_frames(&self, files: &DiskFiles, name: &str) -> Result<(), BackupError> {
        if let Some(checkpoint) = self.groups.iter().filter_map(GroupFiles::checkpoint).find(|it| it.name == name) {
            verify_file(files, &checkpoint).await?;
        } else if let Some(group) = self.groups.iter().find(|group| group.tail == name) {
            let mut reader = TailReader::open(files, name).await?;
            if reader.head().group != GroupId(group.group) || reader.head().range.next != group.next {
                let message = format!("{name} is of another group or range than the manifest says");
                return Err(BackupError::Damaged { message });
            }
            while reader.entries().await?.is_some() {}
        }
        Ok(())
    }
}

async fn check_manifest(files: &DiskFiles) -> Result<Option<String>, BackupError> {
    let found = listed(files, FILE).await.map_err(|source| named("read", FILE, source))?;
    Ok(match files.read(CHECKSUM_FILE, 0, BYTES_MAX).await {
        Ok(stored) if stored == format!("{}  {FILE}\n", found.sha256).as_bytes() => None,
        Ok(_) => Some(format!("its SHA-256 is not the one in {CHECKSUM_FILE}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!("{CHECKSUM_FILE} is missing")),
        Err(source) => return Err(named("read", CHECKSUM_FILE, source)),
    })
}

/// Size and checksum of a file, read in pieces.
pub(super) async fn listed(files: &dyn Files, name: &str) -> io::Result<ListedFile> {
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    loop {
        let piece = files.read(name, bytes, HASH_BYTES).await?;
        if piece.is_empty() {
            return Ok(ListedFile { name: name.to_owned(), bytes, sha256: hex::encode(digest.finalize()) });
        }
        bytes += piece.len() as u64;
        digest.update(&piece);
    }
}

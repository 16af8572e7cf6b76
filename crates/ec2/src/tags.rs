//! Tags on existing resources.

use castlink_core::Result;

use crate::{Tags, convert, network::Network};

/// EC2 takes up to 1000 resources per call and recommends fewer.
const BATCH: usize = 100;

impl Network {
    /// Sets `tags` on all of `ids`, replacing values. All or nothing per 100 resources.
    ///
    /// # Errors
    /// The first batch that failed; the batches before it are done.
    pub async fn tag(&self, ids: &[String], tags: &Tags) -> Result<()> {
        for batch in ids.chunks(BATCH) {
            self.ec2
                .create_tags()
                .set_resources(Some(batch.to_vec()))
                .set_tags(Some(convert::sdk_tags(tags)))
                .send()
                .await
                .map_err(|err| self.failure("ec2:CreateTags", &batch.join(", "), &err))?;
        }
        Ok(())
    }

    /// Takes `tags` off all of `ids`, where they have these very values. All or nothing
    /// per 100 resources.
    ///
    /// # Errors
    /// The first batch that failed; the batches before it are done.
    pub async fn untag(&self, ids: &[String], tags: &Tags) -> Result<()> {
        for batch in ids.chunks(BATCH) {
            self.ec2
                .delete_tags()
                .set_resources(Some(batch.to_vec()))
                .set_tags(Some(convert::sdk_tags(tags)))
                .send()
                .await
                .map_err(|err| self.failure("ec2:DeleteTags", &batch.join(", "), &err))?;
        }
        Ok(())
    }
}

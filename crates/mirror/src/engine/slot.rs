//! A result that is set once and awaited by many.

use tokio::sync::watch;

/// The place of one result. Waiting never hangs on a task that is gone: its [`Setter`]
/// takes the wait down with it.
#[derive(Debug, Clone)]
pub(super) struct Slot<T>(watch::Receiver<Option<T>>);

/// The right to set a slot.
#[derive(Debug)]
pub(super) struct Setter<T>(watch::Sender<Option<T>>);

/// A slot and the right to set it.
pub(super) fn slot<T>() -> (Setter<T>, Slot<T>) {
    let (sender, receiver) = watch::channel(None);
    (Setter(sender), Slot(receiver))
}

impl<T> Setter<T> {
    /// Sets the result.
    pub(super) fn set(self, value: T) {
        self.0.send_replace(Some(value));
    }
}

impl<T: Clone> Slot<T> {
    /// The result, once it is set; none when nobody will set it any more.
    pub(super) async fn wait(&self) -> Option<T> {
        let mut receiver = self.0.clone();
        let set = receiver.wait_for(Option::is_some).await.ok()?;
        set.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::slot;

    #[tokio::test]
    async fn set_once_read_by_many_and_never_hanging() {
        let (setter, result) = slot();
        let other = result.clone();
        let (first, second, ()) =
            tokio::join!(result.wait(), other.wait(), async { setter.set(7) });
        assert_eq!((first, second), (Some(7), Some(7)));
        let (setter, result) = slot::<u8>();
        drop(setter);
        assert_eq!(result.wait().await, None);
    }
}

//! Points at which tests end the process, to see what the next one finds.

#[cfg(not(test))]
pub(crate) fn reached(_point: &str) {}

#[cfg(test)]
pub(crate) use self::watch::{reached, watch};

#[cfg(test)]
mod watch {
    use std::cell::RefCell;

    type Watch = Box<dyn FnMut(&str)>;

    thread_local! {
        static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
    }

    /// From now on this thread tells `watch` what it reaches; until the next one, or for ever.
    pub(crate) fn watch(watch: Option<Watch>) {
        WATCH.set(watch);
    }

    /// Tells the watch of this thread, if there is one.
    pub(crate) fn reached(point: &str) {
        // Taken out meanwhile: what it does may reach points, too.
        if let Some(mut watch) = WATCH.take() {
            watch(point);
            WATCH.set(Some(watch));
        }
    }
}

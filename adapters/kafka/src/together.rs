//! One question for everybody who asks the same at the same time.
//!
//! A client that resumes is compared with the end of its partition, asked for after it came (rule 24). When thousands come in one moment
//! that is the same question thousands of times, and the broker answers eight at a time. But an answer is fresh for everybody who came before
//! the question was put: so those who wait while one is on its way share the next one.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Whoever asks, and the last answer.
#[derive(Debug)]
pub(crate) struct Together<T> {
    /// How many have ever come.
    come: AtomicU64,
    /// The last answer, and how many had come when its question was put. Locked while one is on its way; first come, first served.
    last: Mutex<Option<(u64, T)>>,
}

impl<T> Default for Together<T> {
    fn default() -> Self {
        Self { come: AtomicU64::new(0), last: Mutex::new(None) }
    }
}

impl<T: Clone> Together<T> {
    /// The answer to a question that is put after this was called, by this caller or by another one.
    ///
    /// Cancel safe: a question that its caller gives up is put again by the next.
    pub(crate) async fn ask(&self, question: impl AsyncFnOnce() -> T) -> T {
        let before_me = self.come.fetch_add(1, Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some((come, answer)) = &*last
            && *come > before_me
        {
            return answer.clone();
        }
        let come = self.come.load(Ordering::SeqCst);
        let answer = question().await;
        *last = Some((come, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicUsize};

    use tokio::{sync::Semaphore, task::JoinSet};

    use super::*;

    struct World {
        together: Together<usize>,
        /// The end of the log.
        now: AtomicUsize,
        questions: AtomicUsize,
        answers: Semaphore,
    }

    impl World {
        async fn ask(&self) -> usize {
            let question = async || {
                self.questions.fetch_add(1, Ordering::SeqCst);
                // As it is when the question is put: the oldest that an answer may be.
                let now = self.now.load(Ordering::SeqCst);
                self.answers.acquire().await.unwrap().forget();
                now
            };
            self.together.ask(question).await
        }
    }

    #[tokio::test]
    async fn a_thousand_who_ask_at_once_share_two_questions_and_nobodys_answer_is_older_than_its_call() {
        let world = Arc::new(World {
            together: Together::default(),
            now: AtomicUsize::new(1),
            questions: AtomicUsize::new(0),
            answers: Semaphore::new(0),
        });
        let mut asking = JoinSet::new();
        let ask = |asking: &mut JoinSet<_>| {
            let world = Arc::clone(&world);
            asking.spawn(async move {
                let least = world.now.load(Ordering::SeqCst);
                (least, world.ask().await)
            });
        };
        ask(&mut asking);
        while world.questions.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // The first question is on its way; what it brings is too old for these.
        world.now.store(2, Ordering::SeqCst);
        for _ in 0..999 {
            ask(&mut asking);
        }
        tokio::task::yield_now().await;
        world.answers.add_permits(1_000);
        while let Some(asked) = asking.join_next().await {
            let (least, answer) = asked.unwrap();
            assert!(answer >= least, "{answer} is older than {least}");
        }
        assert_eq!(world.questions.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_is_put_again() {
        let together = Together::default();
        let never = together.ask(async || std::future::pending::<u8>().await);
        tokio::select! {
            biased;
            _ = never => unreachable!("it is never answered"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(together.ask(async || 7).await, 7);
    }
}

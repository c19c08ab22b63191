// Package journal is a log of records in a directory. A broker's durable state is the replay of its journal.
//
// Records have dense numbers from 1 in the order of [Journal.Append], their LSN. Append never waits for storage: one
// goroutine writes what is pending as one batch, makes it durable with one sync, and completes the tokens of those who
// wait. While it syncs, more accumulates: group commit.
//
// A record is live as long as its owner has not released it. Segments of the log in which little is live are rewritten,
// so that the directory stays in proportion to the live bytes: see [Handler]. The live argument of Append should be about
// the length of the record, or 0.
//
//	j, err := journal.Open[token](dir, &journal.Options{Kind: "mqtt"})
//	err = j.Replay(func(lsn uint64, record []byte) error { … j.Restore(lsn, n) … })
//	err = j.Start(journal.Handler[token]{Complete: …, Checkpoint: …, Keep: …})
//	j.AppendAwait(head, body, len(body), t)
//
// [Journal] is generic in the token that callers wait with. A closure or an interface for each record would be an
// allocation for each record; so a token is whatever small value tells the owner who waits.
//
// After a write or a sync has failed the journal is poisoned: nothing is retried, and every later token fails. A full
// disk is not a failure: the journal waits until there is room, and says so with [Full].
//
// docs/format/journal.md describes the files.
package journal

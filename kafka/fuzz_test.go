package kafka

import "testing"

// FuzzRecords splits and reads arbitrary bytes. Nothing panics, and what reads can be written again and reads the same.
func FuzzRecords(f *testing.F) {
	_, entries, _ := kafkaBatches(f)
	for _, b := range entries {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var w BatchWriter
		for {
			entry, rest, err := Split(b)
			if err != nil || entry == nil {
				return
			}
			b = rest
			if Magic(entry) == 2 {
				batch := Batch(entry)
				batch.CheckProduced()
				ReadMarker(batch)
				batch.setCRC()
			}
			recs, err := Open(entry, nil, 1<<16)
			if err != nil {
				continue
			}
			n := 0
			w.Reset()
			for r := (Record{}); recs.Next(&r); n++ {
				for range r.Headers.All() {
				}
				w.Add(r.Timestamp, r.Key, r.Value)
			}
			if recs.Err() != nil || n == 0 {
				continue
			}
			out, err := w.Append(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Open(out, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for r := (Record{}); again.Next(&r); n-- {
			}
			if again.Err() != nil || n != 0 {
				t.Fatalf("%v, %d", again.Err(), n)
			}
			if Magic(entry) == 2 {
				if _, _, err := w.Rewrite(nil, entry, nil, func(r *Record) bool { return r.Offset%2 == 0 }); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

package kafkabroker

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// maxCheckpoint bounds the text files that are read: a line for each of some million partitions.
const maxCheckpoint = 256 << 20

// writeFile replaces a file by one with other content, so that after a crash there is the old one or the new one.
func writeFile(fsys vfs.FS, name string, content []byte) error {
	tmp := name + tmpSuffix
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // as the disk may be full
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// createFile makes a file with some content. It is durable after a sync of it and of the directory.
func createFile(fsys vfs.FS, name string, content []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return errors.Join(err, f.Close())
}

// readFile reads a file of at most limit bytes.
func readFile(fsys vfs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	n, err := f.Size()
	if err == nil && n > limit {
		err = &corruptError{name, n, "too large"}
	}
	var b []byte
	if err == nil {
		b = make([]byte, n)
		err = readFull(f, b, 0)
	}
	return b, errors.Join(err, f.Close())
}

// removeFile removes a file that need not be there.
func removeFile(fsys vfs.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// A checkpoint is a text file: a line with the version, which is 0, one with the number of entries, and a line for each
// entry.

// appendCheckpoint begins a checkpoint.
func appendCheckpoint(n int) []byte { return fmt.Appendf(nil, "0\n%d\n", n) }

// readCheckpoint returns the lines of the entries.
func readCheckpoint(name string, b []byte) ([]string, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if lines[0] != "0" {
		return nil, &corruptError{name, 0, "unknown version"}
	}
	if len(lines) > 1 {
		if n, err := strconv.Atoi(lines[1]); err == nil && n == len(lines)-2 {
			return lines[2:], nil
		}
	}
	return nil, &corruptError{name, int64(len(b)), "the number of entries is another one"}
}

// encodeOffsets makes a checkpoint of offsets.
func encodeOffsets(offsets map[partitionID]int64) []byte {
	keys := make([]partitionID, 0, len(offsets))
	for p := range offsets {
		keys = append(keys, p)
	}
	slices.SortFunc(keys, func(a, b partitionID) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	b := appendCheckpoint(len(keys))
	for _, p := range keys {
		b = fmt.Appendf(b, "%s %d %d\n", p.topic, p.partition, offsets[p])
	}
	return b
}

// decodeOffsets reads a checkpoint of offsets.
func decodeOffsets(name string, b []byte) (map[partitionID]int64, error) {
	lines, err := readCheckpoint(name, b)
	if err != nil {
		return nil, err
	}
	offsets := make(map[partitionID]int64, len(lines))
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) != 3 {
			return nil, &corruptError{name, 0, "line " + strconv.Quote(line)}
		}
		n, err := strconv.ParseUint(words[1], 10, 31)
		offset, err2 := strconv.ParseInt(words[2], 10, 64)
		if err != nil || err2 != nil {
			return nil, &corruptError{name, 0, "line " + strconv.Quote(line)}
		}
		offsets[partitionID{words[0], int32(n)}] = offset
	}
	return offsets, nil
}

// loadOffsets reads a checkpoint of offsets. It is empty when there is no file or no sense in it.
func (d *logDir) loadOffsets(file string) map[partitionID]int64 {
	name := filepath.Join(d.path, file)
	b, err := readFile(d.fs, name, maxCheckpoint)
	if err == nil && len(b) == 0 {
		return make(map[partitionID]int64) // as Kafka makes it
	}
	if err == nil {
		var offsets map[partitionID]int64
		if offsets, err = decodeOffsets(name, b); err == nil {
			return offsets
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("kafkabroker: a checkpoint cannot be read", "file", name, "error", err)
	}
	return make(map[partitionID]int64)
}

// saveOffsets writes a checkpoint of offsets.
func (d *logDir) saveOffsets(file string, offsets map[partitionID]int64) error {
	return writeFile(d.fs, filepath.Join(d.path, file), encodeOffsets(offsets))
}

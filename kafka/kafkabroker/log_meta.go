package kafkabroker

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// dirMeta is what meta.properties says about a directory of logs.
type dirMeta struct {
	clusterID   string
	nodeID      int32
	directoryID kafkawire.UUID
	others      []string // lines that are kept as they are
}

// encode returns the content of the file.
func (m *dirMeta) encode() []byte {
	b := fmt.Appendf(nil, "version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", m.clusterID, m.nodeID, m.directoryID)
	for _, line := range m.others {
		b = append(append(b, line...), '\n')
	}
	return b
}

// decodeDirMeta reads meta.properties, a file of Java properties.
func decodeDirMeta(name string, b []byte) (m dirMeta, err error) {
	m.nodeID = -1
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		bad := false
		switch key {
		case "version":
			bad = value != "0" && value != "1"
		case "cluster.id":
			m.clusterID = value
		case "node.id", "broker.id":
			n, err := strconv.ParseUint(value, 10, 31)
			m.nodeID, bad = int32(n), err != nil
		case "directory.id":
			m.directoryID, err = kafkawire.ParseUUID(value)
			bad = err != nil
		default:
			if line != "" && line[0] != '#' && line[0] != '!' {
				m.others = append(m.others, line)
			}
		}
		if bad {
			return m, &corruptError{name, 0, "line " + strconv.Quote(line)}
		}
	}
	return m, nil
}

// loadMeta reads meta.properties, or writes it for a new directory. A directory of another cluster or node is refused.
func (d *logDir) loadMeta(want dirMeta, newUUID func() kafkawire.UUID) error {
	name := filepath.Join(d.path, metaFile)
	b, err := readFile(d.fs, name, 1<<20)
	write := errors.Is(err, fs.ErrNotExist)
	switch {
	case write:
		d.meta = want
	case err != nil:
		return err
	default:
		if d.meta, err = decodeDirMeta(name, b); err != nil {
			return err
		}
	}
	if want.clusterID != "" && d.meta.clusterID != want.clusterID || d.meta.nodeID != want.nodeID {
		return logError(kafkawire.ErrInconsistentClusterID, "%s belongs to node %d of cluster %q", d.path, d.meta.nodeID, d.meta.clusterID)
	}
	if d.meta.directoryID.IsZero() {
		d.meta.directoryID, write = newUUID(), true
	}
	if !write {
		return nil
	}
	return writeFile(d.fs, name, d.meta.encode())
}

// encodePartitionMeta returns the content of a partition.metadata.
func encodePartitionMeta(topicID kafkawire.UUID) []byte {
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", topicID)
}

// readPartitionMeta reads the topic's id. It is zero when there is no such file.
func readPartitionMeta(fsys vfs.FS, name string) (id kafkawire.UUID, err error) {
	b, err := readFile(fsys, name, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return id, err
	}
	version := ""
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "version":
			version = value
		case "topic_id":
			id, err = kafkawire.ParseUUID(value)
		}
	}
	if version != "0" || err != nil || id.IsZero() {
		return id, &corruptError{name, 0, "no topic id"}
	}
	return id, nil
}

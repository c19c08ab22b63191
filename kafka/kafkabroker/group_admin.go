package kafkabroker

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// classicType is the type of the groups that there are.
const classicType = "classic"

// describeGroups tells about groups.
func (s *session) describeGroups(r *kafkaserver.Request) {
	req := new(kafkawire.DescribeGroupsRequest)
	if err := r.Decode(req); err != nil {
		r.Fail(err)
		return
	}
	resp := &kafkawire.DescribeGroupsResponse{Groups: make([]kafkawire.DescribeGroupsResponseGroup, len(req.Groups))}
	w := newBarrier(func(error) { r.Reply(resp) })
	room := maxDescribedGroups
	for i, id := range req.Groups {
		g := &resp.Groups[i]
		g.GroupID, g.AuthorizedOperations = id, minInt32
		if room <= 0 {
			g.ErrorCode = kafkawire.ErrInvalidRequest
			continue
		}
		s.describeGroup(g, r.Version, w)
		for j := range g.Members {
			room -= 200 + len(g.Members[j].MemberMetadata) + len(g.Members[j].MemberAssignment)
		}
		if g.ErrorCode == noError && req.IncludeAuthorizedOperations {
			g.AuthorizedOperations = s.authorizedOperations(resourceGroup, string(id))
		}
	}
	w.end(nil)
}

// maxDescribedGroups bounds about how many bytes a response has: a small request can ask for the same group again and again.
const maxDescribedGroups = 256 << 20

func (s *session) describeGroup(g *kafkawire.DescribeGroupsResponseGroup, version int16, w *barrier) {
	if !s.allowed(opDescribe, resourceGroup, string(g.GroupID)) {
		g.ErrorCode = kafkawire.ErrGroupAuthorizationFailed
		return
	}
	sh, code := s.groupShard(string(g.GroupID))
	if code != noError {
		g.ErrorCode = code
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w.add(sh)
	e := sh.group(string(g.GroupID))
	if e == nil {
		g.GroupState = kafka.GroupDead.String()
		if version >= 6 {
			g.ErrorCode = kafkawire.ErrGroupIDNotFound
			g.ErrorMessage = new("Group " + string(g.GroupID) + " not found.")
		}
		return
	}
	g.GroupState, g.ProtocolType, g.Members = e.m.State().String(), e.m.ProtocolType(), e.m.Members()
	if e.m.State() == kafka.GroupStable {
		g.ProtocolData = e.m.Protocol()
	}
}

// listGroups tells which groups the node coordinates.
func (s *session) listGroups(r *kafkaserver.Request) {
	req := new(kafkawire.ListGroupsRequest)
	if err := r.Decode(req); err != nil {
		r.Fail(err)
		return
	}
	resp := &kafkawire.ListGroupsResponse{Groups: []kafkawire.ListGroupsResponseGroup{}}
	all := s.allowed(opDescribe, resourceCluster, clusterName)
	states, types := filter(req.StatesFilter), filter(req.TypesFilter)
	if !wanted(types, classicType) {
		r.Reply(resp)
		return
	}
	for _, g := range s.b.listGroups(s.node.at.ID) {
		if wanted(states, g.GroupState) && (all || s.allowed(opDescribe, resourceGroup, string(g.GroupID))) {
			resp.Groups = append(resp.Groups, g)
		}
	}
	r.Reply(resp)
}

// filter is the set of what a client asks for, nil for everything.
func filter(list []string) map[string]bool {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[strings.ToLower(s)] = true
	}
	return m
}

func wanted(m map[string]bool, s string) bool { return m == nil || m[strings.ToLower(s)] }

// listGroups returns the groups that a node coordinates, or all for -1, in order.
func (b *Broker) listGroups(node int32) (list []kafkawire.ListGroupsResponseGroup) {
	t := b.topic(offsetsTopic)
	if t == nil {
		return nil
	}
	for _, p := range t.partitions() {
		if node >= 0 && p.leader() != node {
			continue
		}
		sh := b.groups.shard(p)
		if sh.loaded() != nil {
			continue
		}
		sh.mu.Lock()
		for id, e := range sh.groups {
			list = append(list, kafkawire.ListGroupsResponseGroup{
				GroupID: kafkawire.GroupID(id), ProtocolType: e.m.ProtocolType(), GroupState: e.m.State().String(), GroupType: classicType,
			})
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b kafkawire.ListGroupsResponseGroup) int {
		return strings.Compare(string(a.GroupID), string(b.GroupID))
	})
	return list
}

// deleteGroups deletes groups without members, and their offsets.
func (s *session) deleteGroups(r *kafkaserver.Request) {
	req := new(kafkawire.DeleteGroupsRequest)
	if err := r.Decode(req); err != nil {
		r.Fail(err)
		return
	}
	slices.Sort(req.GroupsNames)
	req.GroupsNames = slices.Compact(req.GroupsNames)
	resp := &kafkawire.DeleteGroupsResponse{Results: make([]kafkawire.DeleteGroupsResponseResult, len(req.GroupsNames))}
	w := newBarrier(func(err error) {
		for i := range resp.Results {
			if resp.Results[i].ErrorCode == noError {
				resp.Results[i].ErrorCode = groupCode(err)
			}
		}
		r.Reply(resp)
	})
	for i, id := range req.GroupsNames {
		g := &resp.Results[i]
		g.GroupID = id
		if !s.allowed(opDelete, resourceGroup, string(id)) {
			g.ErrorCode = kafkawire.ErrGroupAuthorizationFailed
			continue
		}
		sh, code := s.groupShard(string(id))
		if code != noError {
			g.ErrorCode = code
			continue
		}
		g.ErrorCode = sh.deleteGroup(string(id), w)
	}
	w.end(nil)
}

// deleteGroup deletes a group.
func (s *groupShard) deleteGroup(id string, w *barrier) kafkawire.ErrorCode {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.group(id)
	if e == nil {
		return kafkawire.ErrGroupIDNotFound
	}
	if code := e.m.CheckDelete(); code != noError {
		return code
	}
	if err := s.bury(e, e.allKeys(), true); err != nil {
		return groupCode(err)
	}
	w.add(s)
	return noError
}

// allKeys returns the partitions of which a group has offsets, those in open transactions included.
func (e *groupEntry) allKeys() []offsetKey {
	list := e.keys()
	for k := range e.pending {
		if _, ok := e.offsets[k]; !ok {
			list = append(list, k)
		}
	}
	return list
}

// buryAtOnce is about how many bytes of tombstones are in a batch.
const buryAtOnce = 256 << 10

// bury writes tombstones of offsets, and of the group itself with it, and forgets them. The caller holds mu.
func (s *groupShard) bury(e *groupEntry, keys []offsetKey, group bool) error {
	now := time.Now()
	for len(keys) > 0 {
		s.batch.Reset()
		n := 0
		for n < len(keys) && s.batch.Len() < buryAtOnce {
			if err := s.addOffset(now, e.id, keys[n], nil); err != nil {
				return err
			}
			n++
		}
		if _, err := s.append(nil); err != nil {
			return err
		}
		for _, k := range keys[:n] {
			s.forgetOffset(e, k)
		}
		keys = keys[n:]
	}
	if !group {
		return nil
	}
	s.batch.Reset()
	if err := s.addGroup(now, e.id, nil); err != nil {
		return err
	}
	if _, err := s.append(nil); err != nil {
		return err
	}
	s.dropGroup(e, kafkawire.ErrCoordinatorNotAvailable)
	return nil
}

// offsetDelete deletes offsets of topics that a group does not consume.
func (s *session) offsetDelete(r *kafkaserver.Request) {
	req := new(kafkawire.OffsetDeleteRequest)
	if err := r.Decode(req); err != nil {
		r.Fail(err)
		return
	}
	group := string(req.GroupID)
	fail := func(code kafkawire.ErrorCode) { r.Reply(&kafkawire.OffsetDeleteResponse{ErrorCode: code}) }
	if !s.allowed(opDelete, resourceGroup, group) {
		fail(kafkawire.ErrGroupAuthorizationFailed)
		return
	}
	sh, code := s.groupShard(group)
	if code != noError {
		fail(code)
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.group(group)
	if e == nil {
		fail(kafkawire.ErrGroupIDNotFound)
		return
	}
	if code := e.m.CheckOffsetDelete(); code != noError {
		fail(code)
		return
	}
	resp := &kafkawire.OffsetDeleteResponse{Topics: make([]kafkawire.OffsetDeleteResponseTopic, len(req.Topics))}
	keys := make(map[offsetKey]bool)
	for i := range req.Topics {
		s.deleteOffsets(e, &req.Topics[i], &resp.Topics[i], keys)
	}
	if err := sh.bury(e, slices.Collect(maps.Keys(keys)), false); err != nil {
		fail(groupCode(err))
		return
	}
	sh.after(func(err error) {
		if err != nil {
			resp = &kafkawire.OffsetDeleteResponse{ErrorCode: groupCode(err)}
		}
		r.Reply(resp)
	})
}

// deleteOffsets finds the offsets of a topic that are to be deleted.
func (s *session) deleteOffsets(e *groupEntry, t *kafkawire.OffsetDeleteRequestTopic, resp *kafkawire.OffsetDeleteResponseTopic, keys map[offsetKey]bool) {
	resp.Name = t.Name
	topic := s.b.topic(string(t.Name))
	code := noError
	switch {
	case !s.allowed(opRead, resourceTopic, string(t.Name)):
		code = kafkawire.ErrTopicAuthorizationFailed
	case topic == nil:
		code = kafkawire.ErrUnknownTopicOrPartition
	case e.m.State() != kafka.GroupEmpty && e.m.Subscribed(string(t.Name)):
		code = kafkawire.ErrGroupSubscribedToTopic
	}
	for _, p := range t.Partitions {
		answer := kafkawire.OffsetDeleteResponsePartition{PartitionIndex: p.PartitionIndex, ErrorCode: code}
		if topic != nil && code != kafkawire.ErrTopicAuthorizationFailed && topic.partition(p.PartitionIndex) == nil {
			answer.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
		}
		if k := (offsetKey{string(t.Name), p.PartitionIndex}); answer.ErrorCode == noError {
			if _, ok := e.offsets[k]; ok {
				keys[k] = true
			}
		}
		resp.Partitions = append(resp.Partitions, answer)
	}
}

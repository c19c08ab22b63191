package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// securityHandlers are those for ACLs and users.
func securityHandlers() []handler {
	return []handler{
		{kafkawire.KeyDescribeACLs, 1, 3, (*session).describeACLs},
		{kafkawire.KeyCreateACLs, 1, 3, (*session).createACLs},
		{kafkawire.KeyDeleteACLs, 1, 3, (*session).deleteACLs},
		{kafkawire.KeyDescribeClientQuotas, 0, 1, (*session).describeQuotas},
		{kafkawire.KeyDescribeUserSCRAMCredentials, 0, 0, (*session).describeUsers},
		{kafkawire.KeyAlterUserSCRAMCredentials, 0, 0, (*session).alterUsers},
	}
}

// mayACLs returns why a client may not do something with ACLs, nil when it may.
func (s *session) mayACLs(op aclOperation) error {
	switch {
	case !s.allowed(op, resourceCluster, clusterName):
		return logError(kafkawire.ErrClusterAuthorizationFailed, "this needs the operation %v on the cluster", op)
	case !s.b.acls.on:
		return logError(kafkawire.ErrSecurityDisabled, "the broker has no access control lists")
	}
	return nil
}

// describeACLs lists the ACLs that a filter finds.
func (s *session) describeACLs(r *kafkaserver.Request) {
	var req kafkawire.DescribeACLsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	f := kafka.ACLFilter{
		Resource: kafka.ResourceType(req.ResourceTypeFilter), Name: req.ResourceNameFilter, Pattern: kafka.PatternType(req.PatternTypeFilter),
		Principal: req.PrincipalFilter, Host: req.HostFilter,
		Operation: kafka.ACLOperation(req.Operation), Permission: kafka.ACLPermission(req.PermissionType),
	}
	err := s.mayACLs(opDescribe)
	if err == nil {
		err = f.Validate()
	}
	resp := kafkawire.DescribeACLsResponse{Resources: []kafkawire.DescribeACLsResponseResource{}}
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = errorCode(err), errorText(err)
		r.Reply(&resp)
		return
	}
	for _, a := range s.b.ACLs(f) {
		n := len(resp.Resources) - 1
		if n < 0 || resp.Resources[n].ResourceType != int8(a.Resource) || resp.Resources[n].ResourceName != a.Name ||
			resp.Resources[n].PatternType != int8(a.Pattern) {
			resp.Resources = append(resp.Resources, kafkawire.DescribeACLsResponseResource{
				ResourceType: int8(a.Resource), ResourceName: a.Name, PatternType: int8(a.Pattern),
			})
			n++
		}
		at := &resp.Resources[n]
		at.ACLs = append(at.ACLs, kafkawire.DescribeACLsResponseACL{
			Principal: a.Principal, Host: a.Host, Operation: int8(a.Operation), PermissionType: int8(a.Permission),
		})
	}
	r.Reply(&resp)
}

// createACLs adds ACLs. Those that are valid are added, whatever the others are.
func (s *session) createACLs(r *kafkaserver.Request) {
	var req kafkawire.CreateACLsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	may := s.mayACLs(opAlter)
	resp := kafkawire.CreateACLsResponse{Results: make([]kafkawire.CreateACLsResponseResult, len(req.Creations))}
	failed := func(i int, err error) {
		resp.Results[i].ErrorCode, resp.Results[i].ErrorMessage = errorCode(err), errorText(err)
	}
	var valid []kafka.ACL
	var places []int
	for i := range req.Creations {
		c := &req.Creations[i]
		a := kafka.ACL{
			Resource: kafka.ResourceType(c.ResourceType), Name: c.ResourceName, Pattern: kafka.PatternType(c.ResourcePatternType),
			Principal: c.Principal, Host: c.Host, Operation: kafka.ACLOperation(c.Operation), Permission: kafka.ACLPermission(c.PermissionType),
		}
		err := may
		if err == nil {
			err = a.Validate()
		}
		if err != nil {
			failed(i, err)
			continue
		}
		valid, places = append(valid, a), append(places, i)
	}
	if err := s.b.AddACLs(valid...); err != nil {
		for _, i := range places {
			failed(i, err)
		}
	}
	r.Reply(&resp)
}

// deleteACLs deletes the ACLs that filters find.
func (s *session) deleteACLs(r *kafkaserver.Request) {
	var req kafkawire.DeleteACLsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	may := s.mayACLs(opAlter)
	list := make([]aclDeletion, len(req.Filters))
	for i := range req.Filters {
		q, d := &req.Filters[i], &list[i]
		d.filter = kafka.ACLFilter{
			Resource: kafka.ResourceType(q.ResourceTypeFilter), Name: q.ResourceNameFilter, Pattern: kafka.PatternType(q.PatternTypeFilter),
			Principal: q.PrincipalFilter, Host: q.HostFilter,
			Operation: kafka.ACLOperation(q.Operation), Permission: kafka.ACLPermission(q.PermissionType),
		}
		if d.err = may; d.err == nil {
			d.err = d.filter.Validate()
		}
	}
	if may == nil {
		s.b.deleteACLs(list)
	}
	resp := kafkawire.DeleteACLsResponse{FilterResults: make([]kafkawire.DeleteACLsResponseFilterResult, len(list))}
	for i := range list {
		d, result := &list[i], &resp.FilterResults[i]
		result.ErrorCode, result.ErrorMessage = errorCode(d.err), errorText(d.err)
		result.MatchingACLs = make([]kafkawire.DeleteACLsResponseMatchingACL, 0, len(d.gone))
		for _, a := range d.gone {
			result.MatchingACLs = append(result.MatchingACLs, kafkawire.DeleteACLsResponseMatchingACL{
				ResourceType: int8(a.Resource), ResourceName: a.Name, PatternType: int8(a.Pattern),
				Principal: a.Principal, Host: a.Host, Operation: int8(a.Operation), PermissionType: int8(a.Permission),
			})
		}
	}
	r.Reply(&resp)
}

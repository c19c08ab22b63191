package kafkaclient

import (
	"context"
	"fmt"
	"strconv"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ResourceType is a type of what an [ACL] protects.
type ResourceType int8

// The types of resources.
const (
	AnyResource             ResourceType = 1 // in filters
	TopicResource           ResourceType = 2
	GroupResource           ResourceType = 3
	ClusterResource         ResourceType = 4 // has the name "kafka-cluster"
	TransactionalIDResource ResourceType = 5
	DelegationTokenResource ResourceType = 6
	UserResource            ResourceType = 7
)

// Pattern says how the name of an [ACL] is meant.
type Pattern int8

// The patterns.
const (
	AnyPattern   Pattern = 1 // in filters
	MatchPattern Pattern = 2 // in filters: everything that concerns the resource of that name
	Literal      Pattern = 3 // the resource of that name; "*" is all
	Prefixed     Pattern = 4 // those whose names begin so
)

// Operation is what an [ACL] is about.
type Operation int8

// The operations.
const (
	AnyOperation             Operation = 1 // in filters
	AllOperations            Operation = 2
	ReadOperation            Operation = 3
	WriteOperation           Operation = 4
	CreateOperation          Operation = 5
	DeleteOperation          Operation = 6
	AlterOperation           Operation = 7
	DescribeOperation        Operation = 8
	ClusterActionOperation   Operation = 9
	DescribeConfigsOperation Operation = 10
	AlterConfigsOperation    Operation = 11
	IdempotentWriteOperation Operation = 12
	CreateTokensOperation    Operation = 13
	DescribeTokensOperation  Operation = 14
	TwoPhaseCommitOperation  Operation = 15
)

// Permission says whether an [ACL] allows or denies.
type Permission int8

// The permissions.
const (
	AnyPermission Permission = 1 // in filters
	Deny          Permission = 2
	Allow         Permission = 3
)

// ACL allows or denies an operation.
type ACL struct {
	Resource   ResourceType
	Name       string
	Pattern    Pattern // zero is Literal
	Principal  string  // such as "User:alice"
	Host       string  // an address; empty is "*", all
	Operation  Operation
	Permission Permission // zero is Allow
}

// String returns everything in words.
func (a ACL) String() string {
	return fmt.Sprintf("%s of %s at %s: operation %d on resource type %d %s", permissionName(a.Permission), a.Principal,
		orDefault(a.Host, "*"), a.Operation, a.Resource, strconv.Quote(a.Name))
}

func permissionName(p Permission) string {
	if p == Deny {
		return "denial"
	}
	return "permission"
}

// ACLFilter chooses ACLs. Zero fields choose any.
type ACLFilter struct {
	Resource   ResourceType
	Name       string
	Pattern    Pattern
	Principal  string
	Host       string
	Operation  Operation
	Permission Permission
}

func textFilter(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// CreateACLs creates ACLs. The items of an [ItemErrors] are their texts.
func (a *Admin) CreateACLs(ctx context.Context, acls ...ACL) error {
	req := new(kafkawire.CreateACLsRequest)
	for _, x := range acls {
		req.Creations = append(req.Creations, kafkawire.CreateACLsRequestCreation{ResourceType: int8(x.Resource), ResourceName: x.Name,
			ResourcePatternType: int8(orDefault(x.Pattern, Literal)), Principal: x.Principal, Host: orDefault(x.Host, "*"),
			Operation: int8(x.Operation), PermissionType: int8(orDefault(x.Permission, Allow))})
	}
	r, err := change(ctx, a.c, req, func(r *kafkawire.CreateACLsResponse) (code kafkawire.ErrorCode) {
		for _, x := range r.Results {
			code = max(code, x.ErrorCode)
		}
		return code
	})
	if err != nil {
		return err
	}
	var errs ItemErrors
	for i, x := range r.Results {
		if i < len(acls) {
			errs.add(acls[i].String(), remote(x.ErrorCode, x.ErrorMessage))
		}
	}
	return errs.err()
}

// ACLs lists those that a filter chooses.
func (a *Admin) ACLs(ctx context.Context, f ACLFilter) (list []ACL, err error) {
	req := &kafkawire.DescribeACLsRequest{ResourceTypeFilter: int8(orDefault(f.Resource, AnyResource)), ResourceNameFilter: textFilter(f.Name),
		PatternTypeFilter: int8(orDefault(f.Pattern, AnyPattern)), PrincipalFilter: textFilter(f.Principal), HostFilter: textFilter(f.Host),
		Operation: int8(orDefault(f.Operation, AnyOperation)), PermissionType: int8(orDefault(f.Permission, AnyPermission))}
	r, err := request[*kafkawire.DescribeACLsResponse](ctx, a.c, req)
	if err != nil {
		return nil, err
	}
	for _, x := range r.Resources {
		for _, y := range x.ACLs {
			list = append(list, ACL{ResourceType(x.ResourceType), x.ResourceName, Pattern(x.PatternType), y.Principal, y.Host, Operation(y.Operation), Permission(y.PermissionType)})
		}
	}
	return list, remote(r.ErrorCode, r.ErrorMessage)
}

// DeleteACLs deletes those that any of some filters chooses, and returns them.
func (a *Admin) DeleteACLs(ctx context.Context, filters ...ACLFilter) (deleted []ACL, err error) {
	req := new(kafkawire.DeleteACLsRequest)
	for _, f := range filters {
		req.Filters = append(req.Filters, kafkawire.DeleteACLsRequestFilter{ResourceTypeFilter: int8(orDefault(f.Resource, AnyResource)),
			ResourceNameFilter: textFilter(f.Name), PatternTypeFilter: int8(orDefault(f.Pattern, AnyPattern)), PrincipalFilter: textFilter(f.Principal),
			HostFilter: textFilter(f.Host), Operation: int8(orDefault(f.Operation, AnyOperation)), PermissionType: int8(orDefault(f.Permission, AnyPermission))})
	}
	r, err := change(ctx, a.c, req, func(r *kafkawire.DeleteACLsResponse) (code kafkawire.ErrorCode) {
		for _, x := range r.FilterResults {
			code = max(code, x.ErrorCode)
		}
		return code
	})
	if err != nil {
		return nil, err
	}
	var errs ItemErrors
	for i, x := range r.FilterResults {
		errs.add("filter "+strconv.Itoa(i), remote(x.ErrorCode, x.ErrorMessage))
		for _, y := range x.MatchingACLs {
			acl := ACL{ResourceType(y.ResourceType), y.ResourceName, Pattern(y.PatternType), y.Principal, y.Host, Operation(y.Operation), Permission(y.PermissionType)}
			if y.ErrorCode != 0 {
				errs.add(acl.String(), remote(y.ErrorCode, y.ErrorMessage))
				continue
			}
			deleted = append(deleted, acl)
		}
	}
	return deleted, errs.err()
}

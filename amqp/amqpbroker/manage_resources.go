package amqpbroker

// resources returns all resources of the API.
func resources() []resource {
	type methods = map[string]func(*call) (any, error)
	return []resource{
		{"overview", accessAny, methods{"GET": (*call).overview}},
		{"cluster-name", accessAny, methods{"GET": (*call).clusterName, "PUT": (*call).putClusterName}},
		{"nodes", accessMonitor, methods{"GET": (*call).nodes}},
		{"nodes/:node", accessMonitor, methods{"GET": (*call).getNode}},
		{"nodes/:node/memory", accessMonitor, methods{"GET": (*call).nodeMemory}},
		{"extensions", accessAny, methods{"GET": (*call).none}},
		{"feature-flags", accessAny, methods{"GET": (*call).none}},
		{"deprecated-features", accessAny, methods{"GET": (*call).none}},
		{"deprecated-features/used", accessAny, methods{"GET": (*call).none}},
		{"federation-links", accessMonitor, methods{"GET": (*call).none}},
		{"federation-links/:vhost", accessMonitor, methods{"GET": (*call).none}},
		{"shovels", accessMonitor, methods{"GET": (*call).none}},
		{"shovels/:vhost", accessMonitor, methods{"GET": (*call).none}},
		{"auth", accessNobody, methods{"GET": (*call).authSettings}},
		{"whoami", accessAny, methods{"GET": (*call).whoami}},

		{"connections", accessAny, methods{"GET": (*call).connections}},
		{"connections/username/:user", accessAdmin, methods{"GET": (*call).userConnections, "DELETE": (*call).closeUserConnections}},
		{"connections/:connection", accessAny, methods{"GET": (*call).getConnection, "DELETE": (*call).closeConnection}},
		{"connections/:connection/channels", accessAny, methods{"GET": (*call).connectionChannels}},
		{"vhosts/:vhost/connections", accessVhost, methods{"GET": (*call).connections}},
		{"channels", accessAny, methods{"GET": (*call).channels}},
		{"channels/:channel", accessAny, methods{"GET": (*call).getChannel}},
		{"vhosts/:vhost/channels", accessVhost, methods{"GET": (*call).channels}},
		{"consumers", accessAny, methods{"GET": (*call).consumers}},
		{"consumers/:vhost", accessVhost, methods{"GET": (*call).consumers}},

		{"exchanges", accessAny, methods{"GET": (*call).exchanges}},
		{"exchanges/:vhost", accessVhost, methods{"GET": (*call).exchanges}},
		{"exchanges/:vhost/:exchange", accessVhost, methods{
			"GET": (*call).getExchange, "PUT": (*call).putExchange, "DELETE": (*call).deleteExchange}},
		{"exchanges/:vhost/:exchange/publish", accessVhost, methods{"POST": (*call).publish}},
		{"exchanges/:vhost/:exchange/bindings/source", accessVhost, methods{"GET": (*call).bindingsOfSource}},
		{"exchanges/:vhost/:exchange/bindings/destination", accessVhost, methods{"GET": (*call).bindingsOfDestination}},

		{"queues", accessAny, methods{"GET": (*call).queues}},
		{"queues/:vhost", accessVhost, methods{"GET": (*call).queues}},
		{"queues/:vhost/:queue", accessVhost, methods{
			"GET": (*call).getQueue, "PUT": (*call).putQueue, "DELETE": (*call).deleteQueue}},
		{"queues/:vhost/:queue/contents", accessVhost, methods{"DELETE": (*call).purgeQueue}},
		{"queues/:vhost/:queue/get", accessVhost, methods{"POST": (*call).getMessages}},
		{"queues/:vhost/:queue/actions", accessVhost, methods{"POST": (*call).queueAction}},
		{"queues/:vhost/:queue/bindings", accessVhost, methods{"GET": (*call).bindingsOfQueue}},

		{"bindings", accessAny, methods{"GET": (*call).bindings}},
		{"bindings/:vhost", accessVhost, methods{"GET": (*call).bindings}},
		{"bindings/:vhost/e/:exchange/:kind/:destination", accessVhost, methods{
			"GET": (*call).bindingsBetween, "POST": (*call).postBinding}},
		{"bindings/:vhost/e/:exchange/:kind/:destination/:props", accessVhost, methods{
			"GET": (*call).getBinding, "DELETE": (*call).deleteBinding}},

		{"vhosts", accessAny, methods{"GET": (*call).listVhosts}},
		{"vhosts/:name", accessAny, methods{"GET": (*call).getVhost, "PUT": (*call).putVhost, "DELETE": (*call).deleteVhost}},
		{"vhosts/:vhost/start/:node", accessAdmin, methods{"POST": (*call).startVhost}},
		{"vhosts/:vhost/permissions", accessAdmin, methods{"GET": (*call).vhostPermissions}},
		{"vhosts/:vhost/topic-permissions", accessAdmin, methods{"GET": (*call).vhostTopicPermissions}},
		{"vhost-limits", accessAny, methods{"GET": (*call).vhostLimits}},
		{"vhost-limits/:vhost", accessVhost, methods{"GET": (*call).vhostLimits}},
		{"vhost-limits/:vhost/:limit", accessAdmin, methods{"PUT": (*call).putVhostLimit, "DELETE": (*call).deleteVhostLimit}},

		{"users", accessAdmin, methods{"GET": (*call).listUsers}},
		{"users/without-permissions", accessAdmin, methods{"GET": (*call).usersWithoutPermissions}},
		{"users/bulk-delete", accessAdmin, methods{"POST": (*call).deleteUsers}},
		{"users/:user", accessAdmin, methods{"GET": (*call).getUser, "PUT": (*call).putUser, "DELETE": (*call).deleteUser}},
		{"users/:user/permissions", accessAdmin, methods{"GET": (*call).userPermissions}},
		{"users/:user/topic-permissions", accessAdmin, methods{"GET": (*call).userTopicPermissions}},
		{"user-limits", accessAny, methods{"GET": (*call).userLimits}},
		{"user-limits/:user", accessAny, methods{"GET": (*call).userLimits}},
		{"user-limits/:user/:limit", accessAdmin, methods{"PUT": (*call).putUserLimit, "DELETE": (*call).deleteUserLimit}},
		{"permissions", accessAdmin, methods{"GET": (*call).permissions}},
		{"permissions/:vhost/:user", accessAdmin, methods{
			"GET": (*call).getPermission, "PUT": (*call).putPermission, "DELETE": (*call).deletePermission}},
		{"topic-permissions", accessAdmin, methods{"GET": (*call).topicPermissions}},
		{"topic-permissions/:vhost/:user", accessAdmin, methods{
			"GET": (*call).getTopicPermission, "PUT": (*call).putTopicPermission, "DELETE": (*call).deleteTopicPermission}},
		{"topic-permissions/:vhost/:user/:exchange", accessAdmin, methods{"DELETE": (*call).deleteTopicPermission}},

		{"policies", accessAny, methods{"GET": (*call).policies}},
		{"policies/:vhost", accessVhost, methods{"GET": (*call).policies}},
		{"policies/:vhost/:name", accessPolicy, methods{
			"GET": (*call).getPolicy, "PUT": (*call).putPolicy, "DELETE": (*call).deletePolicy}},
		{"operator-policies", accessAny, methods{"GET": (*call).operatorPolicies}},
		{"operator-policies/:vhost", accessVhost, methods{"GET": (*call).operatorPolicies}},
		{"operator-policies/:vhost/:name", accessPolicy, methods{
			"GET": (*call).getOperatorPolicy, "PUT": (*call).putOperatorPolicy, "DELETE": (*call).deleteOperatorPolicy}},
		{"parameters", accessPolicy, methods{"GET": (*call).parameters}},
		{"parameters/:component", accessPolicy, methods{"GET": (*call).parameters}},
		{"parameters/:component/:vhost", accessPolicy, methods{"GET": (*call).parameters}},
		{"parameters/:component/:vhost/:name", accessPolicy, methods{
			"GET": (*call).getParameter, "PUT": (*call).putParameter, "DELETE": (*call).deleteParameter}},
		{"global-parameters", accessPolicy, methods{"GET": (*call).globalParameters}},
		{"global-parameters/:name", accessPolicy, methods{
			"GET": (*call).getGlobal, "PUT": (*call).putGlobal, "DELETE": (*call).deleteGlobal}},

		{"definitions", accessAdmin, methods{"GET": (*call).getDefinitions, "POST": (*call).postDefinitions}},
		{"definitions/:vhost", accessAdmin, methods{"GET": (*call).getDefinitions, "POST": (*call).postDefinitions}},

		{"aliveness-test/:vhost", accessVhost, methods{"GET": (*call).aliveness}},
		{"healthchecks/node", accessMonitor, methods{"GET": (*call).healthOK}},
		{"healthchecks/node/:node", accessMonitor, methods{"GET": (*call).healthOK}},
		{"health/checks/alarms", accessAny, methods{"GET": (*call).healthAlarms}},
		{"health/checks/local-alarms", accessAny, methods{"GET": (*call).healthAlarms}},
		{"health/checks/port-listener/:port", accessAny, methods{"GET": (*call).healthPort}},
		{"health/checks/protocol-listener/:protocol", accessAny, methods{"GET": (*call).healthProtocol}},
		{"health/checks/virtual-hosts", accessAny, methods{"GET": (*call).healthOK}},
		{"health/checks/node-is-quorum-critical", accessAny, methods{"GET": (*call).healthSingle}},
		{"health/checks/node-is-mirror-sync-critical", accessAny, methods{"GET": (*call).healthSingle}},
		{"health/checks/certificate-expiration/:within/:unit", accessAny, methods{"GET": (*call).healthOK}},
	}
}

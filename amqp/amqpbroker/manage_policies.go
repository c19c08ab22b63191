package amqpbroker

import (
	"encoding/json"
	"net/http"
	"slices"
)

// policiesOf returns the policies of a kind in the virtual hosts of the path.
func (c *call) policiesOf(kind settingKind) []Policy {
	vhosts := c.vhosts()
	return slices.DeleteFunc(ofKind[Policy](c.m.b.settingsOf(), kind), func(p Policy) bool { return !slices.Contains(vhosts, p.Vhost) })
}

func (c *call) listPolicies(kind settingKind) (any, error) {
	return listOf(c.policiesOf(kind), func(p *Policy) string { return p.Name }), nil
}

func (c *call) onePolicy(kind settingKind) (any, error) {
	for _, p := range c.policiesOf(kind) {
		if p.Name == c.vars["name"] {
			return p, nil
		}
	}
	return nil, errNotFound
}

func (c *call) setPolicy(operator bool) (any, error) {
	in, err := c.body("pattern", "definition")
	if err != nil {
		return nil, err
	}
	p := Policy{Vhost: c.vars["vhost"], Name: c.vars["name"]}
	if p.Pattern, err = in.text("pattern"); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(in["definition"], &p.Definition); err != nil {
		return nil, badRequest("definition should be an object")
	}
	scope, err := in.text("apply-to")
	if err != nil {
		return nil, err
	}
	p.ApplyTo = PolicyScope(scope)
	if raw, ok := in["priority"]; ok {
		if json.Unmarshal(raw, &p.Priority) != nil {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				return nil, err
			}
			return nil, invalid("priority should be a number, actually was %s", erlangTerm(v))
		}
	}
	s, err := policySetting(p, operator)
	if err != nil {
		return nil, err
	}
	_, missing := c.onePolicy(s.Kind)
	if _, err := c.set(s); err != nil {
		return nil, err
	}
	return created(missing != nil), nil
}

func (c *call) removePolicy(kind settingKind) (any, error) {
	if _, err := c.onePolicy(kind); err != nil {
		return nil, err
	}
	return c.set(setting{Kind: kind, Vhost: c.vars["vhost"], Name: c.vars["name"]})
}

// adminOnly is for changes of operator policies, which users with the tag policymaker see but do not make.
func (c *call) adminOnly(do func() (any, error)) (any, error) {
	if err := c.admit(accessAdmin); err != nil {
		return nil, err
	}
	return do()
}

func (c *call) policies() (any, error)          { return c.listPolicies(settingPolicy) }
func (c *call) getPolicy() (any, error)         { return c.onePolicy(settingPolicy) }
func (c *call) putPolicy() (any, error)         { return c.setPolicy(false) }
func (c *call) deletePolicy() (any, error)      { return c.removePolicy(settingPolicy) }
func (c *call) operatorPolicies() (any, error)  { return c.listPolicies(settingOperatorPolicy) }
func (c *call) getOperatorPolicy() (any, error) { return c.onePolicy(settingOperatorPolicy) }

func (c *call) putOperatorPolicy() (any, error) {
	return c.adminOnly(func() (any, error) { return c.setPolicy(true) })
}

func (c *call) deleteOperatorPolicy() (any, error) {
	return c.adminOnly(func() (any, error) { return c.removePolicy(settingOperatorPolicy) })
}

// wantedParameters returns the parameters of the component and in the virtual hosts of the path.
func (c *call) wantedParameters() []Parameter {
	vhosts := c.vhosts()
	component, one := c.vars["component"]
	return slices.DeleteFunc(c.m.b.settingsOf().definitions("").Parameters, func(p Parameter) bool {
		return !slices.Contains(vhosts, p.Vhost) || one && p.Component != component
	})
}

func (c *call) parameters() (any, error) {
	return listOf(c.wantedParameters(), func(p *Parameter) string { return p.Name }), nil
}

func (c *call) getParameter() (any, error) {
	for _, p := range c.wantedParameters() {
		if p.Name == c.vars["name"] {
			return p, nil
		}
	}
	return nil, errNotFound
}

func (c *call) putParameter() (any, error) {
	in, err := c.body("value")
	if err != nil {
		return nil, err
	}
	p := Parameter{Vhost: c.vars["vhost"], Component: c.vars["component"], Name: c.vars["name"], Value: in["value"]}
	s, err := p.setting()
	if err != nil {
		return nil, err
	}
	if s.Kind != settingParameter {
		if err := c.admit(accessAdmin); err != nil {
			return nil, err
		}
	}
	_, missing := c.getParameter()
	if _, err := c.set(s); err != nil {
		return nil, err
	}
	return created(missing != nil), nil
}

func (c *call) deleteParameter() (any, error) {
	if _, err := c.getParameter(); err != nil {
		return nil, err
	}
	s := setting{Kind: settingParameter, Vhost: c.vars["vhost"], Name: c.vars["name"], Sub: c.vars["component"]}
	switch s.Sub {
	case componentOperatorPolicy:
		s.Kind, s.Sub = settingOperatorPolicy, ""
	case componentVhostLimits:
		s.Kind, s.Name, s.Sub = settingVhostLimits, "", ""
	}
	if s.Kind != settingParameter {
		return c.adminOnly(func() (any, error) { return c.set(s) })
	}
	return c.set(s)
}

func (c *call) globalParameters() (any, error) {
	return listOf(c.m.b.settingsOf().definitions("").GlobalParameters, func(p *GlobalParameter) string { return p.Name }), nil
}

func (c *call) getGlobal() (any, error) {
	for _, p := range c.m.b.settingsOf().definitions("").GlobalParameters {
		if p.Name == c.vars["name"] {
			return p, nil
		}
	}
	return nil, errNotFound
}

func (c *call) putGlobal() (any, error) {
	in, err := c.body("value")
	if err != nil {
		return nil, err
	}
	_, missing := c.getGlobal()
	if _, err := c.set(setting{Kind: settingGlobal, Name: c.vars["name"], Value: in["value"]}); err != nil {
		return nil, err
	}
	return created(missing != nil), nil
}

func (c *call) deleteGlobal() (any, error) {
	if _, err := c.getGlobal(); err != nil {
		return nil, err
	}
	return c.set(setting{Kind: settingGlobal, Name: c.vars["name"]})
}

func (c *call) getDefinitions() (any, error) {
	vhost, one := c.vars["vhost"]
	if one && !c.m.b.hasVhost(vhost) {
		return nil, errNotFound
	}
	d := c.m.b.exportDefinitions(vhost)
	d.RabbitVersion = managedVersion
	if !one {
		d.RabbitMQVersion, d.ProductName, d.ProductVersion = managedVersion, "Quartet", managedVersion
	}
	if name := c.r.URL.Query().Get("download"); name != "" {
		c.w.Header().Set("Content-Disposition", "attachment; filename=definitions.json")
	}
	return d, nil
}

func (c *call) postDefinitions() (any, error) {
	vhost, one := c.vars["vhost"]
	if one && !c.m.b.hasVhost(vhost) {
		return nil, &apiError{http.StatusNotFound, "not_found", "vhost_not_found"}
	}
	d, err := ReadDefinitions(http.MaxBytesReader(c.w, c.r.Body, maxDefinitions))
	if err != nil {
		return nil, badRequest(err.Error())
	}
	if err := c.m.b.importDefinitions(c.r.Context(), d, vhost); err != nil {
		if e := apiErrorOf(err); e != nil && e.status != http.StatusBadRequest {
			return nil, badRequest(e.reason)
		} else if e == nil {
			return nil, badRequest(err.Error())
		}
		return nil, err
	}
	return deleted, nil
}

// global returns a global parameter, nil when there is none.
func (r *registry) global(name string) json.RawMessage {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.globals[name]
}

# Who may call what? `allow` has to be true; any `deny` outweighs it.
package countersign.permission

allow if granted

# Whether the agent sees the tool in lists: whatever it may ever call.
visible if granted

granted if granting(data.countersign_config.access.agents[input.agent.id])

else if {
	groups := data.countersign_config.access.groups
	some group in input.agent.groups
	granting(groups[group])
}

granting(servers) if {
	tools := servers[input.call.server]
	some name in [input.call.tool, "*"]
	tools[name]
}

deny contains {
	"code": "tool_changed",
	"message": "the definition of this tool has changed since it was accepted",
} if {
	input.tool.pin == "changed"
}

# An example of a rule on arguments.
deny contains {
	"code": "external_recipient",
	"message": "mail goes to addresses of this company only",
} if {
	input.call.server == "demo"
	input.call.tool == "send_email"
	not internal(input.call.arguments.to)
}

internal(address) if {
	is_string(address)
	[_, domain] := split(address, "@")
	data.countersign_config.mail_domains[lower(domain)]
}

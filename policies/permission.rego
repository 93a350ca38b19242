# Who may call what? `allow` has to be true; any `deny` outweighs it.
package countersign.permission

import data.countersign_config as config

default allow := false

allow if granted

# Whether the agent sees the tool in lists: whatever it may ever call.
visible if granted

granted if config.access.agents[input.agent.id][input.call.server][input.call.tool]

granted if config.access.agents[input.agent.id][input.call.server]["*"]

granted if {
	some group in input.agent.groups
	config.access.groups[group][input.call.server][input.call.tool]
}

granted if {
	some group in input.agent.groups
	config.access.groups[group][input.call.server]["*"]
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
	config.mail_domains[lower(domain)]
}

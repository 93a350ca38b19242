package countersign.permission_test

import data.countersign.permission

config := {
	"access": {
		"agents": {"ann": {"crm": {"read": true}}, "root": {"crm": {"*": true}}},
		"groups": {"support": {"crm": {"write": true}}},
	},
	"mail_domains": {"example.com": true},
}

call(agent, tool) := {
	"agent": agent,
	"call": {"server": "crm", "tool": tool, "arguments": {}},
	"tool": {"pin": "match"},
}

test_an_agent_may_call_what_it_was_granted if {
	permission.allow with input as call({"id": "ann", "groups": []}, "read")
		with data.countersign_config as config
}

test_nobody_may_call_the_rest if {
	not permission.allow with input as call({"id": "ann", "groups": []}, "write")
		with data.countersign_config as config
}

test_a_group_may_call_what_it_was_granted if {
	permission.allow with input as call({"id": "ann", "groups": ["support"]}, "write")
		with data.countersign_config as config
}

test_a_star_stands_for_every_tool if {
	permission.allow with input as call({"id": "root", "groups": []}, "anything")
		with data.countersign_config as config
}

test_the_unknown_may_nothing if {
	not permission.allow with input as call({"id": "eve", "groups": []}, "read")
		with data.countersign_config as config
}

test_what_may_not_be_called_is_not_seen if {
	not permission.visible with input as call({"id": "eve", "groups": []}, "read")
		with data.countersign_config as config
}

test_a_changed_tool_is_denied if {
	some reason in permission.deny with input as {"tool": {"pin": "changed"}}
	reason.code == "tool_changed"
}

test_mail_stays_inside if {
	permission.internal("a@example.com") with data.countersign_config as config
	not permission.internal("a@example.com@evil.com") with data.countersign_config as config
}

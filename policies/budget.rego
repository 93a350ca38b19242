# What does the call cost, and is there enough left?
package countersign.budget

# Tools that move money, and the budget that they draw on.
budget := "usd-per-day" if {
	input.call.server == "demo"
	input.call.tool in {"refund", "wire_transfer"}
}

valid_amount if decimal(input.call.arguments.amount)

# No regular expression: this is asked in each decision on money.
decimal(text) if {
	is_string(text)
	trim(text, "0123456789.") == ""
	count(split(text, ".")) <= 2
	not startswith(text, ".")
	not endswith(text, ".")
	text != ""
}

# Only budgets that the operator has set up are charged.
charge contains {"budget": budget, "amount": input.call.arguments.amount} if {
	input.budgets[budget]
	valid_amount
}

deny contains {
	"code": "amount_not_valid",
	"message": "write the amount as a decimal text such as \"12.50\"",
} if {
	budget
	not valid_amount
}

deny contains {
	"code": "budget_exhausted",
	"message": "the budget for this does not have that much left",
} if {
	remaining := input.budgets[budget].remaining
	valid_amount
	to_number(input.call.arguments.amount) > to_number(remaining)
}

# What does the call cost, and is there enough left?
package countersign.budget

# Tools that move money, and the budget each draws on.
draws_on := {"demo": {"refund": "usd-per-day", "wire_transfer": "usd-per-day"}}

budget := draws_on[input.call.server][input.call.tool]

valid_amount if {
	is_string(input.call.arguments.amount)
	regex.match(`^[0-9]{1,12}(\.[0-9]{1,2})?$`, input.call.arguments.amount)
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
	valid_amount
	to_number(input.call.arguments.amount) > to_number(input.budgets[budget].remaining)
}

-- Which actions make sense for a haldane Rollout in the phase it is in. The controller checks each of them again.
local status = obj.status or {}
local phase = status.phase
local underway = phase == "Waiting" or phase == "Progressing" or phase == "Paused" or phase == "Holding"
local asked = false
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Paused" and condition.status == "True" then asked = condition.reason == "ApprovalRequired" end
end
local held = obj.spec.paused == true
local refused = status.refused ~= nil and #status.refused > 0

local actions = {}
actions["abort"] = { ["disabled"] = not underway }
actions["promote"] = { ["disabled"] = not underway or (phase == "Paused" and not asked) }
actions["pause"] = { ["disabled"] = not underway or phase == "Paused" }
actions["resume"] = { ["disabled"] = phase ~= "Paused" or asked or held }
actions["retry"] = { ["disabled"] = underway or not (refused or phase == "Passed") }
actions["rollback"] = { ["disabled"] = phase ~= "Promoted" }
return actions

-- Health of a haldane Rollout in Argo CD.
local function is(type)
  for _, condition in ipairs((obj.status or {}).conditions or {}) do
    if condition.type == type then return condition.status == "True", condition.message end
  end
  return false, ""
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "not looked at yet" }
end
for _, pair in ipairs({ { "Stalled", "Degraded" }, { "Paused", "Suspended" }, { "Ready", "Healthy" } }) do
  local yes, message = is(pair[1])
  if yes then return { status = pair[2], message = message } end
end
return { status = "Progressing", message = obj.status.phase or "" }

-- Asks haldane for VERB, as `haldane VERB` does: an annotation bound to the uid, the epoch and the step of the object that was shown.
-- What was given for another state is refused by the controller. The id is the object's version, so one state is answered once.
local status = obj.status or {}
local step = status.step
local command = '{"id":"argocd-' .. obj.metadata.resourceVersion .. '","uid":"' .. obj.metadata.uid .. '"'
command = command .. ',"epoch":' .. (status.epoch or 0)
if step ~= nil and tonumber(step.index) >= 0 then
  command = command .. ',"step":"' .. step.name .. '"'
end
command = command .. ',"reason":"asked for in Argo CD"}'
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["haldane.dev/VERB"] = command
return obj

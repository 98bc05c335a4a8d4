//! What calls would make, for the few callables that are known.

use std::rc::Rc;

use super::PickleError;
use super::machine::Machine;
use super::value::{StorageRef, TensorRef, Value};
use crate::element::ElementType;

/// The most dimensions of a tensor.
const MAX_RANK: usize = 16;

impl Machine<'_> {
    /// What a call would make; nothing is called.
    pub(super) fn call(&mut self, callable: &Value, arguments: &Value) -> Result<Value, PickleError> {
        let name = match callable {
            Value::Name(name) => name,
            Value::Object(name) => return Ok(Value::Object(name.clone())),
            other => return Ok(Value::Object(other.type_name().into())),
        };
        let arguments = self.heap.sequence(arguments).ok_or_else(|| self.damaged("arguments are no tuple"))?;
        match &**name {
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor_v3" => {
                self.tensor(name, arguments)
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" | "torch.Size" => {
                arguments.first().cloned().ok_or_else(|| self.damaged("an argument is missing"))
            }
            "collections.OrderedDict" | "collections.defaultdict" | "builtins.dict" | "__builtin__.dict" => {
                let items = arguments.last().cloned();
                let pairs = self.items(items.as_ref())?;
                Ok(self.heap.add_dict(pairs))
            }
            "copyreg._reconstructor" | "copy_reg._reconstructor" => match arguments.first() {
                Some(Value::Name(class)) => Ok(Value::Object(class.clone())),
                _ => Err(self.damaged("a class is missing")),
            },
            _ => Ok(Value::Object(name.clone())),
        }
    }

    /// The pairs of a list that a dictionary is made of; none where there is no list.
    fn items(&mut self, items: Option<&Value>) -> Result<Vec<(Value, Value)>, PickleError> {
        let Some(items @ Value::List(_)) = items else { return Ok(Vec::new()) };
        self.count_copies(self.heap.sequence(items).map_or(0, <[Value]>::len))?;
        let pair = |item: &Value| match self.heap.sequence(item) {
            Some([key, value]) => Ok((key.clone(), value.clone())),
            _ => Err(self.damaged("an entry is no pair")),
        };
        self.heap.sequence(items).unwrap_or_default().iter().map(pair).collect()
    }

    fn tensor(&self, name: &str, arguments: &[Value]) -> Result<Value, PickleError> {
        let [Value::Storage(storage), offset, shape, strides, rest @ ..] = arguments else {
            return Err(self.damaged("a tensor has no storage, offset, shape and strides"));
        };
        let dims = |value: &Value| {
            let dims = self.heap.sequence(value).filter(|dims| dims.len() <= MAX_RANK)?;
            dims.iter().map(Value::as_index).collect::<Option<Vec<u64>>>()
        };
        let (Some(offset), Some(shape), Some(strides)) = (offset.as_index(), dims(shape), dims(strides)) else {
            return Err(self.damaged("a tensor's offset, shape or strides are not what they should be"));
        };
        if shape.len() != strides.len() {
            return Err(self.damaged("a tensor has not one stride per dimension"));
        }
        let element = match rest {
            [_, _, Value::Name(dtype), ..] if name.ends_with("_v3") => ElementType::named(dtype),
            _ => storage.element.clone(),
        };
        Ok(Value::Tensor(Rc::new(TensorRef { storage: storage.clone(), element, offset, shape, strides })))
    }

    /// What the file keeps beside the pickle: storages.
    pub(super) fn persistent(&mut self, id: &Value) -> Result<Value, PickleError> {
        let fields = self.heap.sequence(id).unwrap_or_default();
        let [Value::Text(kind), Value::Name(class), key, _, n_stored, rest @ ..] = fields else {
            return Ok(Value::Object("persistent object".into()));
        };
        let (true, Value::Text(key), Some(n_stored)) = (&**kind == "storage", key, n_stored.as_index()) else {
            return Ok(Value::Object("persistent object".into()));
        };
        let (first, n_values) = match rest.first().and_then(|view| self.heap.sequence(view)) {
            Some([_, first, n_values]) => {
                let view = first.as_index().zip(n_values.as_index());
                let view = view.filter(|(first, n)| first.checked_add(*n).is_some_and(|end| end <= n_stored));
                view.ok_or_else(|| self.damaged("a view lies outside its storage"))?
            }
            _ => (0, n_stored),
        };
        let element = ElementType::of_storage(class);
        Ok(self.heap.add_storage(StorageRef { element, key: key.clone(), n_values, n_stored, first }))
    }
}

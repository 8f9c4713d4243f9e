internal import ByteIO
internal import Tensors

/// A value on the pickle machine's stack. Containers are numbers of an arena, not references: a value is flat, however
/// deep the pickle nests, and a container may hold itself without harm.
enum PickleValue: Sendable, Equatable {
  case none
  case bool(Bool)
  case integer(Int64)
  case float(Double)
  case string(String)
  case tuple(Int)
  case list(Int)
  /// A dict or an OrderedDict.
  case dictionary(Int)
  case set
  case symbol(PickleSymbol)
  case storage(Int)
  case tensor(Int)
  /// A `torch.Size`: the tuple.
  case size(Int)
}

/// A storage as the pickle refers to it.
struct PickleStorage: Sendable, Equatable {
  let key: UTF8Key
  /// Nil for an untyped storage, whose elements are bytes.
  let elementType: ElementType?
  /// Elements of the storage's class.
  let elementCount: Int64
  /// Old files: the storage is a part of the one called `key`, in elements.
  var viewOffset: Int64 = 0
  /// Elements of the storage that the view lies in; nil when there is no view.
  var whole: Int64?
}

/// A strided view of a storage. Offset, sizes and strides are in elements.
struct PickleTensor: Sendable, Equatable {
  let storage: Int
  let elementType: ElementType
  let offset: Int64
  let sizes: [Int64]
  let strides: [Int64]
}

/// The only names that a pickle may mention. They are inert: nothing is ever imported or called.
enum PickleSymbol: Sendable, Equatable {
  case orderedDictionary
  case rebuildTensor, rebuildTensorV2, rebuildTensorV3
  case rebuildParameter, rebuildParameterWithState
  case rebuildFromType
  case size
  /// `torch.Tensor`, `torch.nn.parameter.Parameter`: types that are dropped.
  case tensorClass
  case storageClass(ElementType?)
  case dataType(ElementType)

  /// - Returns: nil for a name that is not on the list.
  init?(module: String, name: String) {
    switch (module, name) {
    case ("collections", "OrderedDict"): self = .orderedDictionary
    case ("torch._utils", "_rebuild_tensor"): self = .rebuildTensor
    case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensorV2
    case ("torch._utils", "_rebuild_tensor_v3"): self = .rebuildTensorV3
    case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
    case ("torch._utils", "_rebuild_parameter_with_state"): self = .rebuildParameterWithState
    case ("torch._tensor", "_rebuild_from_type_v2"): self = .rebuildFromType
    case ("torch", "Size"): self = .size
    case ("torch", "Tensor"), ("torch.nn.parameter", "Parameter"): self = .tensorClass
    case ("torch.storage", "UntypedStorage"): self = .storageClass(nil)
    case ("torch", _), ("torch.cuda", _):
      if let type = Self.storageClasses[name] {
        self = .storageClass(type)
      } else if module == "torch", let type = TorchType(name: name)?.elementType {
        self = .dataType(type)
      } else {
        return nil
      }
    default: return nil
    }
  }

  private static let storageClasses: [String: ElementType] = [
    "DoubleStorage": .f64, "FloatStorage": .f32, "HalfStorage": .f16, "BFloat16Storage": .bf16, "LongStorage": .i64,
    "IntStorage": .i32, "ShortStorage": .i16, "CharStorage": .i8, "ByteStorage": .u8, "BoolStorage": .bool,
  ]
}

/// Element types under torch's names.
struct TorchType {
  let elementType: ElementType
  /// The typed storage class; nil for types that torch stores untyped (`_rebuild_tensor_v3`).
  let storageClass: String?
  /// `bfloat16`, as in `torch.bfloat16`.
  let name: String

  private static let all: [TorchType] = [
    TorchType(elementType: .f64, storageClass: "DoubleStorage", name: "float64"),
    TorchType(elementType: .f32, storageClass: "FloatStorage", name: "float32"),
    TorchType(elementType: .f16, storageClass: "HalfStorage", name: "float16"),
    TorchType(elementType: .bf16, storageClass: "BFloat16Storage", name: "bfloat16"),
    TorchType(elementType: .i64, storageClass: "LongStorage", name: "int64"),
    TorchType(elementType: .i32, storageClass: "IntStorage", name: "int32"),
    TorchType(elementType: .i16, storageClass: "ShortStorage", name: "int16"),
    TorchType(elementType: .i8, storageClass: "CharStorage", name: "int8"),
    TorchType(elementType: .u8, storageClass: "ByteStorage", name: "uint8"),
    TorchType(elementType: .bool, storageClass: "BoolStorage", name: "bool"),
    TorchType(elementType: .f8e4m3, storageClass: nil, name: "float8_e4m3fn"),
    TorchType(elementType: .f8e5m2, storageClass: nil, name: "float8_e5m2"),
    TorchType(elementType: .f8e4m3fnuz, storageClass: nil, name: "float8_e4m3fnuz"),
    TorchType(elementType: .f8e5m2fnuz, storageClass: nil, name: "float8_e5m2fnuz"),
    TorchType(elementType: .f8e8m0, storageClass: nil, name: "float8_e8m0fnu"),
    TorchType(elementType: .u16, storageClass: nil, name: "uint16"),
    TorchType(elementType: .u32, storageClass: nil, name: "uint32"),
    TorchType(elementType: .u64, storageClass: nil, name: "uint64"),
  ]

  init(elementType: ElementType, storageClass: String?, name: String) {
    self.elementType = elementType
    self.storageClass = storageClass
    self.name = name
  }

  /// The type that torch calls `torch.NAME`.
  init?(name: String) {
    guard let found = Self.all.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  /// How torch names an element type; nil for types that torch does not have.
  init?(_ elementType: ElementType) {
    guard let found = Self.all.first(where: { $0.elementType == elementType }) else { return nil }
    self = found
  }
}

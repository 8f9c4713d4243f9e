internal import ByteIO
internal import Tensors

/// How a file refers to its storages.
enum PersistentIDs: Sendable {
  /// `('storage', class, key, location, numel)`
  case zip
  /// The same with a sixth member: nil or `(view key, offset, numel of the view)`.
  case legacy
}

/// Where a pickle's containers, storages and tensors are, and how they are rebuilt from their parts.
struct PickleArena: Sendable {
  var tuples: [[PickleValue]] = []
  var lists: [[PickleValue]] = []
  var dictionaries: [[(key: PickleValue, value: PickleValue)]] = []
  var storages: [PickleStorage] = []
  var tensors: [PickleTensor] = []
  private let persistentIDs: PersistentIDs
  private var storageByKey: [UTF8Key: Int] = [:]

  init(persistentIDs: PersistentIDs) { self.persistentIDs = persistentIDs }

  mutating func add(tuple: [PickleValue]) -> Int {
    tuples.append(tuple)
    return tuples.count - 1
  }

  mutating func addList() -> Int {
    lists.append([])
    return lists.count - 1
  }

  mutating func addDictionary() -> Int {
    dictionaries.append([])
    return dictionaries.count - 1
  }

  // MARK: Storages

  mutating func storage(_ id: [PickleValue]) throws(ParseFailure) -> Int {
    guard id.count == (persistentIDs == .zip ? 5 : 6), id[0] == .string("storage"),
      case .symbol(.storageClass(let type)) = id[1], case .string(let text) = id[2], case .string = id[3],
      case .integer(let count) = id[4], count >= 0
    else { throw ParseFailure("a persistent id is no storage reference") }
    let key = UTF8Key(text)
    var storage = PickleStorage(key: key, elementType: type, elementCount: count)
    if persistentIDs == .legacy, id[5] != .none {
      guard case .tuple(let number) = id[5], tuples[number].count == 3, case .integer(let offset) = tuples[number][1],
        case .integer(let size) = tuples[number][2], offset >= 0, size >= 0, offset <= count, size <= count - offset
      else { throw ParseFailure("a storage's view is malformed or reaches beyond it") }
      storage = PickleStorage(key: key, elementType: type, elementCount: size, viewOffset: offset, whole: count)
    }
    if let known = storageByKey[key] {
      guard storages[known].elementType == type else {
        throw ParseFailure("storage \(key) is mentioned with two types")
      }
      if storages[known] == storage { return known }
      guard storages[known].whole ?? storages[known].elementCount == count else {
        throw ParseFailure("storage \(key) is mentioned with two sizes")
      }
    } else {
      storageByKey[key] = storages.count
    }
    storages.append(storage)
    return storages.count - 1
  }

  // MARK: Calls

  /// The value that a call of an allowed name stands for.
  mutating func rebuild(_ symbol: PickleSymbol, _ arguments: [PickleValue]) throws(ParseFailure) -> PickleValue {
    switch symbol {
    case .orderedDictionary:
      guard arguments.isEmpty else { throw ParseFailure("an OrderedDict is made of arguments") }
      return .dictionary(addDictionary())
    case .size:
      guard arguments.count == 1, case .tuple(let number) = arguments[0] else {
        throw ParseFailure("a torch.Size is made of other than a tuple")
      }
      return .size(number)
    case .rebuildTensor: return try tensor(arguments, counts: 4...4, hasType: false)
    case .rebuildTensorV2: return try tensor(arguments, counts: 6...7, hasType: false)
    case .rebuildTensorV3: return try tensor(arguments, counts: 7...8, hasType: true)
    case .rebuildParameter, .rebuildParameterWithState:
      guard (3...4).contains(arguments.count), case .tensor(let number) = arguments[0] else {
        throw ParseFailure("a parameter is made of other than a tensor")
      }
      return .tensor(number)
    case .rebuildFromType:
      guard arguments.count == 4, case .symbol(let inner) = arguments[0], inner.isRebuild,
        case .tuple(let number) = arguments[2]
      else { throw ParseFailure("a tensor of another type is rebuilt by an unknown function") }
      return try rebuild(inner, tuples[number])
    case .tensorClass, .storageClass, .dataType: throw ParseFailure("the pickle calls a type")
    }
  }

  /// `(storage, offset, size, stride, requires_grad, hooks[, dtype][, metadata])`
  private mutating func tensor(
    _ arguments: [PickleValue], counts: ClosedRange<Int>, hasType: Bool
  ) throws(ParseFailure) -> PickleValue {
    guard counts.contains(arguments.count), case .storage(let storage) = arguments[0],
      case .integer(let offset) = arguments[1]
    else { throw ParseFailure("a tensor is rebuilt from other than a storage") }
    if arguments.count == counts.upperBound, counts.count > 1 {
      guard try isEmpty(arguments[arguments.count - 1]) else {
        throw ParseFailure("a tensor has metadata (conjugated or negated), which is not supported")
      }
    }
    var type = storages[storage].elementType
    if hasType {
      guard type == nil, case .symbol(.dataType(let stated)) = arguments[6] else {
        throw ParseFailure("a tensor has no type that is known")
      }
      type = stated
    }
    guard let type else { throw ParseFailure("a tensor of an untyped storage has no type") }
    let sizes = try extents(arguments[2])
    let strides = try extents(arguments[3])
    guard sizes.count == strides.count, sizes.count <= PickleLimits.dimensions, offset >= 0 else {
      throw ParseFailure("a tensor's sizes and strides do not fit each other")
    }
    tensors.append(PickleTensor(storage: storage, elementType: type, offset: offset, sizes: sizes, strides: strides))
    return .tensor(tensors.count - 1)
  }

  private func extents(_ value: PickleValue) throws(ParseFailure) -> [Int64] {
    let number: Int
    switch value {
    case .tuple(let tuple), .size(let tuple): number = tuple
    default: throw ParseFailure("a tensor's sizes are no tuple")
    }
    var extents: [Int64] = []
    for member in tuples[number] {
      guard case .integer(let extent) = member, extent >= 0 else {
        throw ParseFailure("a tensor's sizes and strides are not counts")
      }
      extents.append(extent)
    }
    return extents
  }

  private func isEmpty(_ value: PickleValue) throws(ParseFailure) -> Bool {
    switch value {
    case .none: true
    case .dictionary(let number): dictionaries[number].isEmpty
    default: false
    }
  }
}

extension PickleSymbol {
  /// Functions that may rebuild a tensor inside `_rebuild_from_type_v2`: not itself, so calls do not nest.
  fileprivate var isRebuild: Bool {
    switch self {
    case .rebuildTensor, .rebuildTensorV2, .rebuildTensorV3, .rebuildParameter, .rebuildParameterWithState: true
    default: false
    }
  }
}

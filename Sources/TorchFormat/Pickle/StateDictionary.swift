internal import ByteIO

/// The named tensors of a pickle: of the dict that it holds, or of the one below `model`, `state_dict` or `module`.
struct StateDictionary {
  /// In the pickle's order; names are unique.
  private(set) var tensors: [(name: String, tensor: PickleTensor)] = []
  /// Names of entries that are no tensors.
  private(set) var others: [String] = []
  let storages: [PickleStorage]

  /// Names under which some tools nest the tensors.
  private static let wrappers = ["model", "state_dict", "module"]

  init(_ value: PickleValue, _ arena: PickleArena) throws(ParseFailure) {
    guard case .dictionary(var number) = value else { throw ParseFailure("the pickle holds no dict of tensors") }
    for wrapper in Self.wrappers {
      let inner = arena.dictionaries[number].first { $0.key == .string(wrapper) }?.value
      if case .dictionary(let nested)? = inner {
        number = nested
        break
      }
    }
    storages = arena.storages
    var seen: Set<UTF8Key> = []
    for (key, value) in arena.dictionaries[number] {
      guard case .string(let name) = key else { throw ParseFailure("the pickle's dict has a key that is no name") }
      guard seen.insert(UTF8Key(name)).inserted else {
        throw ParseFailure("the pickle names a tensor twice", item: name)
      }
      if case .tensor(let number) = value {
        tensors.append((name, arena.tensors[number]))
      } else {
        others.append(name)
      }
    }
  }
}

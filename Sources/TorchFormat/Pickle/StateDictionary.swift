internal import ByteIO

/// The named tensors of a pickle: of the dict that it holds, or of the one below `model`, `state_dict` or `module`.
struct StateDictionary {
  /// In the pickle's order; names are unique.
  private(set) var tensors: [(name: String, tensor: PickleTensor)] = []
  /// Names of entries that are left out: they are no tensors, or stand beside the dict of tensors.
  private(set) var others: [String] = []
  let storages: [PickleStorage]

  /// Names under which some tools nest the tensors.
  private static let wrappers = ["model", "state_dict", "module"]

  private typealias Member = (name: String, value: PickleValue)

  init(_ value: PickleValue, _ arena: PickleArena) throws(ParseFailure) {
    guard case .dictionary(let outer) = value else { throw ParseFailure("the pickle holds no dict of tensors") }
    var members = try Self.members(of: outer, arena)
    if let (wrapper, inner) = try Self.wrapped(members, arena) {
      others = members.map(\.name).filter { $0 != wrapper }
      members = inner
    }
    storages = arena.storages
    for (name, value) in members {
      if case .tensor(let number) = value {
        tensors.append((name, arena.tensors[number]))
      } else {
        others.append(name)
      }
    }
  }

  /// Members of a dict whose keys are names, each once.
  private static func members(of number: Int, _ arena: PickleArena) throws(ParseFailure) -> [Member] {
    var seen: Set<UTF8Key> = []
    var members: [Member] = []
    for (key, value) in arena.dictionaries[number] {
      guard case .string(let name) = key else { throw ParseFailure("the pickle's dict has a key that is no name") }
      guard seen.insert(UTF8Key(name)).inserted else {
        throw ParseFailure("the pickle names an entry twice", item: name)
      }
      members.append((name, value))
    }
    return members
  }

  /// The members of the first dict under a wrapper's name that holds a tensor.
  private static func wrapped(
    _ members: [Member], _ arena: PickleArena
  ) throws(ParseFailure) -> (wrapper: String, inner: [Member])? {
    for wrapper in wrappers {
      guard case .dictionary(let number)? = members.first(where: { $0.name == wrapper })?.value else { continue }
      let holdsTensor = arena.dictionaries[number].contains { if case .tensor = $0.value { true } else { false } }
      if holdsTensor { return (wrapper, try self.members(of: number, arena)) }
    }
    return nil
  }
}

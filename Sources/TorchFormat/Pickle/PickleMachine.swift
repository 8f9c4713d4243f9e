internal import ByteIO
internal import Tensors

/// Reads one pickle of tensors. It knows the opcodes that torch's own restricted reader knows, and of all names only those
/// that rebuild tensors; a name outside the list ends the reading with an error that tells it. Nothing is imported, called
/// or executed: rebuilding a tensor is noting where its bytes are.
///
/// Opcodes: Python's `pickletools`; what torch emits: `formats/pth.md`.
struct PickleMachine {
  private var cursor: PickleInput
  private var stack: [PickleValue] = []
  private var marks: [Int] = []
  private var memo: [Int: PickleValue] = [:]
  private var valueCount = 0
  /// Where the opcode that is executed stands.
  private var place: Int
  private(set) var arena: PickleArena

  init(_ input: PickleInput, persistentIDs: PersistentIDs) {
    cursor = input
    place = input.offset
    arena = PickleArena(persistentIDs: persistentIDs)
  }

  /// The input behind what was read.
  var rest: PickleInput { cursor }

  /// Runs until STOP.
  /// - Returns: the pickled value; containers are in `arena`.
  mutating func run() throws(ParseFailure) -> PickleValue {
    guard try cursor.read(UInt8.self) == 0x80 else {
      throw failure("no pickle is here: it does not begin with PROTO")
    }
    let version = try cursor.read(UInt8.self)
    guard version == 2 else { throw failure("the pickle has protocol \(version), torch writes 2") }
    while true {
      place = cursor.offset
      let opcode = try cursor.read(UInt8.self)
      if opcode == 0x2E {
        guard stack.count == 1, marks.isEmpty else { throw failure("the pickle ends with \(stack.count) values") }
        return try pop()
      }
      try execute(opcode)
      guard valueCount <= PickleLimits.values else {
        throw failure("the pickle has more values than any checkpoint")
      }
    }
  }

  /// A failure at the opcode that is executed.
  private func failure(_ message: String) -> ParseFailure { cursor.failure(message, at: place) }

  // MARK: Stack

  private mutating func push(_ value: PickleValue) {
    valueCount += 1
    stack.append(value)
  }

  /// Values below the last mark belong to someone else.
  private mutating func pop() throws(ParseFailure) -> PickleValue {
    guard stack.count > marks.last ?? 0, let value = stack.popLast() else {
      throw failure("the pickle takes a value that is not there")
    }
    return value
  }

  private mutating func popToMark() throws(ParseFailure) -> [PickleValue] {
    guard let mark = marks.popLast() else { throw failure("the pickle takes a mark that is not there") }
    let values = Array(stack[mark...])
    stack.removeLast(stack.count - mark)
    return values
  }

  private func top() throws(ParseFailure) -> PickleValue {
    guard stack.count > marks.last ?? 0, let value = stack.last else {
      throw failure("the pickle looks at a value that is not there")
    }
    return value
  }

  // MARK: Opcodes

  private mutating func execute(_ opcode: UInt8) throws(ParseFailure) {
    switch opcode {
    case 0x28:  // MARK
      guard marks.count < PickleLimits.marks else { throw failure("marks nest deeper than \(PickleLimits.marks)") }
      marks.append(stack.count)
    case 0x7D: push(.dictionary(arena.addDictionary()))  // EMPTY_DICT
    case 0x5D: push(.list(arena.addList()))  // EMPTY_LIST
    case 0x29: push(.tuple(arena.add(tuple: [])))  // EMPTY_TUPLE
    case 0x8F: push(.set)  // EMPTY_SET
    case 0x4E: push(.none)  // NONE
    case 0x88: push(.bool(true))  // NEWTRUE
    case 0x89: push(.bool(false))  // NEWFALSE
    case 0x85, 0x86, 0x87: try tuple(Int(opcode) - 0x84)  // TUPLE1…3
    case 0x74: push(.tuple(arena.add(tuple: try popToMark())))  // TUPLE
    case 0x73, 0x75, 0x61, 0x65: try fill(opcode)
    case 0x58, 0x55, 0x4B, 0x4D, 0x4A, 0x8A, 0x47: try literal(opcode)
    case 0x71, 0x72, 0x68, 0x6A: try remember(opcode)
    case 0x63: try global()  // GLOBAL
    case 0x52, 0x81: try reduce(isNew: opcode == 0x81)  // REDUCE, NEWOBJ
    case 0x51: try persistentStorage()  // BINPERSID
    case 0x62: try build()  // BUILD
    default:
      throw failure("the pickle has opcode 0x\(String(opcode, radix: 16)), which no tensor needs")
    }
  }

  private mutating func tuple(_ count: Int) throws(ParseFailure) {
    var members: [PickleValue] = []
    for _ in 0..<count { members.append(try pop()) }
    push(.tuple(arena.add(tuple: members.reversed())))
  }

  private mutating func fill(_ opcode: UInt8) throws(ParseFailure) {
    switch opcode {
    case 0x73:  // SETITEM
      let value = try pop()
      let key = try pop()
      try setItems([key, value])
    case 0x75: try setItems(try popToMark())  // SETITEMS
    case 0x61: try append([try pop()])  // APPEND
    default: try append(try popToMark())  // APPENDS
    }
  }

  private mutating func setItems(_ values: [PickleValue]) throws(ParseFailure) {
    guard case .dictionary(let number) = try top() else { throw failure("the pickle sets items of what is no dict") }
    guard values.count % 2 == 0 else { throw failure("the pickle sets a key without a value") }
    for index in stride(from: 0, to: values.count, by: 2) {
      arena.dictionaries[number].append((key: values[index], value: values[index + 1]))
    }
  }

  private mutating func append(_ values: [PickleValue]) throws(ParseFailure) {
    guard case .list(let number) = try top() else { throw failure("the pickle appends to what is no list") }
    arena.lists[number] += values
  }

  private mutating func literal(_ opcode: UInt8) throws(ParseFailure) {
    switch opcode {
    case 0x58: push(.string(try text(UInt64(try cursor.read(UInt32.self)))))  // BINUNICODE
    case 0x55: push(.string(try text(UInt64(try cursor.read(UInt8.self)))))  // SHORT_BINSTRING
    case 0x4B: push(.integer(Int64(try cursor.read(UInt8.self))))  // BININT1
    case 0x4D: push(.integer(Int64(try cursor.read(UInt16.self))))  // BININT2
    case 0x4A: push(.integer(Int64(try cursor.read(Int32.self))))  // BININT
    case 0x8A: push(.integer(try long()))  // LONG1
    default: push(.float(Double(bitPattern: try cursor.read(UInt64.self).byteSwapped)))  // BINFLOAT
    }
  }

  private mutating func text(_ count: UInt64) throws(ParseFailure) -> String {
    guard count <= UInt64(PickleLimits.stringBytes) else {
      throw failure("the pickle has a string of \(count) bytes, at most \(PickleLimits.stringBytes) are read")
    }
    guard let text = String(validating: try cursor.slice(count), as: UTF8.self) else {
      throw failure("a string of the pickle is not UTF-8")
    }
    return text
  }

  /// Little-endian two's complement of any length; integers of a checkpoint fit 64 bits.
  private mutating func long() throws(ParseFailure) -> Int64 {
    let count = try cursor.read(UInt8.self)
    guard count <= 9 else { throw failure("the pickle has an integer of \(count) bytes, at most 8 are needed") }
    var value: UInt64 = 0
    var last: UInt8 = 0
    for (index, byte) in try cursor.slice(UInt64(count)).enumerated() {
      last = byte
      if index < 8 { value |= UInt64(last) << (8 * index) }
    }
    let isNegative = last & 0x80 != 0
    if count < 8, isNegative { value |= UInt64.max << (8 * UInt64(count)) }
    let signed = Int64(bitPattern: value)
    guard count < 9 || (last == 0 && signed >= 0) || (last == 0xFF && signed < 0) else {
      throw failure("the pickle has an integer beyond 64 bits")
    }
    return signed
  }

  private mutating func remember(_ opcode: UInt8) throws(ParseFailure) {
    let isShort = opcode == 0x71 || opcode == 0x68
    let index = isShort ? Int(try cursor.read(UInt8.self)) : Int(try cursor.read(UInt32.self))
    if opcode == 0x71 || opcode == 0x72 {  // BINPUT, LONG_BINPUT
      guard index <= PickleLimits.memoIndex else { throw failure("the pickle's memo has index \(index)") }
      memo[index] = try top()
    } else {  // BINGET, LONG_BINGET
      guard let value = memo[index] else { throw failure("the pickle recalls \(index), which it never remembered") }
      push(value)
    }
  }

  private mutating func global() throws(ParseFailure) {
    let module = try line()
    let name = try line()
    guard let symbol = PickleSymbol(module: module, name: name) else {
      var refusal = failure(
        "the pickle mentions \(module.prefix(80)).\(name.prefix(80)), which is not needed for tensors")
      refusal.advice = "a checkpoint holds tensors only; do not load this file with other tools either"
      throw refusal
    }
    push(.symbol(symbol))
  }

  private mutating func line() throws(ParseFailure) -> String {
    var units: [UInt8] = []
    while true {
      let unit = try cursor.read(UInt8.self)
      if unit == 0x0A { break }
      guard unit > 0x20, unit < 0x7F, units.count < 256 else { throw failure("the pickle has a malformed name") }
      units.append(unit)
    }
    return String(decoding: units, as: UTF8.self)
  }

  private mutating func reduce(isNew: Bool) throws(ParseFailure) {
    let arguments = try pop()
    let callable = try pop()
    guard case .symbol(let symbol) = callable, case .tuple(let number) = arguments else {
      throw failure("the pickle calls what cannot be called")
    }
    guard !isNew || symbol == .orderedDictionary else {
      throw failure("the pickle makes an object of a foreign class")
    }
    do throws(ParseFailure) {
      push(try arena.rebuild(symbol, arena.tuples[number]))
    } catch {
      throw failure(error.message)
    }
  }

  private mutating func persistentStorage() throws(ParseFailure) {
    guard case .tuple(let number) = try pop() else { throw failure("a persistent id is no tuple") }
    do throws(ParseFailure) {
      push(.storage(try arena.storage(arena.tuples[number])))
    } catch {
      throw failure(error.message)
    }
  }

  /// Attributes of a dict (`_metadata` of a module's state) are dropped. The state of a tensor would be another storage and
  /// another shape (`Tensor.set_`), as files before torch 0.4 have it.
  private mutating func build() throws(ParseFailure) {
    _ = try pop()
    switch try top() {
    case .dictionary: break
    default: throw failure("the pickle sets the state of what has none")
    }
  }
}

public import ByteIO
public import Foundation
public import Tensors

/// A small Hugging Face checkpoint in memory, made of random numbers or read from a folder, to be changed in any way and
/// written: every tensor's name, type, shape and bytes, `config.json`, and the files beside it are plain values. It
/// reads and writes safetensors with its own few lines, so that it shares no code with what is tested.
public struct TinyCheckpoint: Sendable {
  /// One tensor. Nothing keeps `bytes` and `shape` in step: a broken checkpoint is as easy to write as a sound one.
  public struct Tensor: Sendable {
    public var name: String
    public var elementType: ElementType
    public var shape: [Int]
    public var bytes: [UInt8]

    public init(_ name: String, _ elementType: ElementType, _ shape: [Int], bytes: [UInt8]) {
      self.name = name
      self.elementType = elementType
      self.shape = shape
      self.bytes = bytes
    }
  }

  /// The sizes of a model. Heads and key/value heads differ by default: with equal numbers, mixing them up shows nowhere.
  public struct Dimensions: Sendable {
    public var hidden = 32
    public var layers = 2
    public var heads = 4
    public var keyValueHeads = 2
    public var headDimension = 8
    public var feedForward = 48
    public var vocabulary = 40
    public var isTied = false

    public init() {}

    public init(_ change: (inout Dimensions) -> Void) { change(&self) }
  }

  /// In the order of the file.
  public var tensors: [Tensor]
  /// `config.json`.
  public var configuration: JSONObject
  /// Other files of the folder.
  public var files: [(name: String, bytes: [UInt8])] = []

  public init(tensors: [Tensor], configuration: JSONObject) {
    self.tensors = tensors
    self.configuration = configuration
  }

  /// Random weights of all tensors of a Llama, in model order, and the configuration that describes them.
  public init(_ dimensions: Dimensions = Dimensions(), elementType: ElementType = .bf16, seed: UInt64 = 1) {
    var random = SeededRandom(seed: seed)
    let tensors = Self.shapes(dimensions).map { name, shape in
      // Norms are near 1, matrices small: what a real model has.
      let isNorm = shape.count == 1
      let count = shape.reduce(1, *)
      let values = (0..<count).map { _ in (isNorm ? 1 : 0) + random.normal(isNorm ? 0.1 : 0.05) }
      return Tensor(name, elementType, shape, bytes: elementType.bytes(of: values))
    }
    self.init(tensors: tensors, configuration: Self.configuration(dimensions, elementType))
  }

  /// Names and shapes of Hugging Face's Llama, in model order.
  public static func shapes(_ size: Dimensions) -> [(name: String, shape: [Int])] {
    let query = size.heads * size.headDimension
    let keyValue = size.keyValueHeads * size.headDimension
    var list: [(name: String, shape: [Int])] = [("model.embed_tokens.weight", [size.vocabulary, size.hidden])]
    for layer in 0..<size.layers {
      let prefix = "model.layers.\(layer)."
      list += [
        (prefix + "self_attn.q_proj.weight", [query, size.hidden]),
        (prefix + "self_attn.k_proj.weight", [keyValue, size.hidden]),
        (prefix + "self_attn.v_proj.weight", [keyValue, size.hidden]),
        (prefix + "self_attn.o_proj.weight", [size.hidden, query]),
        (prefix + "mlp.gate_proj.weight", [size.feedForward, size.hidden]),
        (prefix + "mlp.up_proj.weight", [size.feedForward, size.hidden]),
        (prefix + "mlp.down_proj.weight", [size.hidden, size.feedForward]),
        (prefix + "input_layernorm.weight", [size.hidden]),
        (prefix + "post_attention_layernorm.weight", [size.hidden]),
      ]
    }
    list.append(("model.norm.weight", [size.hidden]))
    if !size.isTied { list.append(("lm_head.weight", [size.vocabulary, size.hidden])) }
    return list
  }

  private static func configuration(_ size: Dimensions, _ elementType: ElementType) -> JSONObject {
    let types: [ElementType: JSONValue] = [.bf16: "bfloat16", .f16: "float16", .f32: "float32"]
    var object = JSONObject([
      ("architectures", ["LlamaForCausalLM"]), ("model_type", "llama"), ("attention_bias", false),
      ("bos_token_id", 1), ("eos_token_id", 2), ("hidden_act", "silu"), ("max_position_embeddings", 128),
      ("mlp_bias", false), ("rms_norm_eps", 1e-5), ("rope_theta", 10_000.0), ("rope_scaling", nil),
    ])
    let counts = [
      ("hidden_size", size.hidden), ("num_hidden_layers", size.layers), ("num_attention_heads", size.heads),
      ("num_key_value_heads", size.keyValueHeads), ("head_dim", size.headDimension),
      ("intermediate_size", size.feedForward), ("vocab_size", size.vocabulary),
    ]
    for (key, count) in counts { object[key] = .number(JSONNumber(count)) }
    object["tie_word_embeddings"] = .bool(size.isTied)
    object["torch_dtype"] = types[elementType]
    return object
  }
}

// MARK: - Changing

extension TinyCheckpoint {
  /// The tensor called `name`. Setting nil removes it; setting another tensor (also of another name) puts it in its
  /// place, or at the end when there is none.
  public subscript(name: String) -> Tensor? {
    get { tensors.first { $0.name == name } }
    set {
      guard let index = tensors.firstIndex(where: { $0.name == name }) else {
        if let newValue { tensors.append(newValue) }
        return
      }
      if let newValue { tensors[index] = newValue } else { tensors.remove(at: index) }
    }
  }

  /// Changes the tensor called `name`. Traps when there is none: a test that changes nothing tests nothing.
  public mutating func change(_ name: String, _ change: (inout Tensor) -> Void) {
    guard let index = tensors.firstIndex(where: { $0.name == name }) else { preconditionFailure("no tensor \(name)") }
    change(&tensors[index])
  }

  /// Gives the tensor called `name` another shape and new random bytes of that size.
  public mutating func reshape(_ name: String, to shape: [Int], seed: UInt64 = 2) {
    var random = SeededRandom(seed: seed)
    change(name) { tensor in
      tensor.shape = shape
      tensor.bytes = tensor.elementType.bytes(of: (0..<shape.reduce(1, *)).map { _ in random.normal(0.05) })
    }
  }
}

// MARK: - Reading

extension TinyCheckpoint {
  /// A folder with `config.json` and `model.safetensors`, and its other files with them.
  public init(reading folder: URL) throws {
    let tensors = try Self.tensors(ofFile: folder.appending(path: "model.safetensors"))
    let document = try JSONValue(parsing: try Fixtures.bytes(folder.appending(path: "config.json")))
    guard let object = document.object else { throw CocoaError(.fileReadCorruptFile) }
    self.init(tensors: tensors, configuration: object)
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    for name in names where name != "config.json" && name != "model.safetensors" {
      files.append((name, try Fixtures.bytes(folder.appending(path: name))))
    }
  }

  /// The tensors of a safetensors file, by their offset.
  public static func tensors(ofFile url: URL) throws -> [Tensor] {
    let bytes = try Fixtures.bytes(url)
    let start = 8 + bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let header = try JSONSerialization.jsonObject(with: Data(bytes[8..<start])) as? [String: Any] ?? [:]
    var found: [(offset: Int, tensor: Tensor)] = []
    for (name, value) in header where name != "__metadata__" {
      guard let entry = value as? [String: Any], let type = (entry["dtype"] as? String).flatMap(ElementType.init),
        let shape = entry["shape"] as? [Int], let range = entry["data_offsets"] as? [Int], range.count == 2
      else { throw CocoaError(.fileReadCorruptFile) }
      found.append((range[0], Tensor(name, type, shape, bytes: Array(bytes[start + range[0]..<start + range[1]]))))
    }
    return found.sorted { ($0.offset, $0.tensor.name) < ($1.offset, $1.tensor.name) }.map(\.tensor)
  }
}

// MARK: - Writing

extension TinyCheckpoint {
  /// Writes the checkpoint into a folder, which is made if it is not there.
  /// - Parameter shards: with 1 `model.safetensors`; with more that many files, the tensors dealt out in runs, and their
  ///   index.
  public func write(to folder: URL, shards: Int = 1) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    func put(_ bytes: [UInt8], _ name: String) throws { try Data(bytes).write(to: folder.appending(path: name)) }
    try put(Array(JSONValue.object(configuration).serialized().utf8), "config.json")
    for file in files { try put(file.bytes, file.name) }
    guard shards > 1 else { return try put(Self.safetensors(tensors), "model.safetensors") }

    var map = JSONObject()
    for shard in 0..<shards {
      let name = "model-\(Self.digits(shard + 1))-of-\(Self.digits(shards)).safetensors"
      let part = tensors[tensors.count * shard / shards..<tensors.count * (shard + 1) / shards]
      try put(Self.safetensors(Array(part)), name)
      for tensor in part { map[tensor.name] = .string(name) }
    }
    let total = tensors.reduce(0) { $0 + $1.bytes.count }
    let index: JSONValue = ["metadata": ["total_size": .number(JSONNumber(total))], "weight_map": .object(map)]
    try put(Array(index.serialized().utf8), "model.safetensors.index.json")
  }

  private static func digits(_ number: Int) -> String {
    String(repeating: "0", count: 5 - String(number).count) + String(number)
  }

  /// A safetensors file with the tensors in this order.
  public static func safetensors(_ tensors: [Tensor]) -> [UInt8] {
    var members: [(key: String, value: JSONValue)] = [("__metadata__", ["format": "pt"])]
    var data: [UInt8] = []
    for tensor in tensors {
      let offsets = [data.count, data.count + tensor.bytes.count]
      members.append(
        (
          tensor.name,
          [
            "dtype": .string(tensor.elementType.rawValue),
            "shape": .array(tensor.shape.map { .number(JSONNumber($0)) }),
            "data_offsets": .array(offsets.map { .number(JSONNumber($0)) }),
          ]
        ))
      data += tensor.bytes
    }
    var header = Array(JSONValue.object(JSONObject(members)).serialized(.compact).utf8)
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    return (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) } + header + data
  }
}

public import ByteIO

extension QuantizationConfiguration {
  /// The `quantization_config` of a model whose linears have types of their own: compressed-tensors with a group for each
  /// type, its format, and the full names of its modules. Names are full ones because vLLM looks up the parts of what it fuses
  /// by them. The format of the whole is `mixed-precision` where groups differ in theirs.
  /// - Parameters:
  ///   - linears: how each quantized module is stored, one at least, by their full names, in model order.
  ///   - kept: full names of the linear modules that stay unquantized, in model order.
  ///   - head: full name of the output head, in the list whether the model has a tensor for it or not.
  public static func document(
    mixing linears: [(module: String, recipe: LinearRecipe)], kept: [String], head: String = "lm_head"
  ) -> JSONValue {
    var recipes: [LinearRecipe] = []
    for (_, recipe) in linears where !recipes.contains(recipe) { recipes.append(recipe) }
    var groups = JSONObject()
    for (index, recipe) in recipes.enumerated() {
      let modules = linears.filter { $0.recipe == recipe }.map(\.module)
      groups["group_\(index)"] = configGroup(recipe, modules)
    }
    let formats = Set(groups.members.compactMap { $0.value["format"]?.string })
    let others = kept.filter { !$0.utf8.elementsEqual(head.utf8) }
    return compressedTensors(
      .object(groups), format: formats.count == 1 ? formats.first ?? mixedFormat : mixedFormat,
      ignored: [head] + others)
  }

  static let mixedFormat = "mixed-precision"

  private static func configGroup(_ recipe: LinearRecipe, _ modules: [String]) -> JSONValue {
    switch recipe {
    case .fp8(let recipe): fp8Group(recipe, targets: modules)
    case .integers(let quantizer):
      configGroup(WrittenGroup(modules: modules, grid: quantizer.grid, layout: quantizer.layout))
    }
  }
}
